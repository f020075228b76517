"""Lines that survive a stop at any byte."""

import json
import pathlib

import pytest

from tfllm.prediction.resumable_lines import ResumableLines

ALL = [f"line {i} äö" for i in range(11)]
SETTINGS = {"model_dir": "m", "sizes": (1, 2)}


def write(path: pathlib.Path, stop: int | None = None, **options) -> None:
    """Writes ALL in blocks of 3, or stops in front of a line."""
    with ResumableLines(str(path), SETTINGS, 3, **options) as lines:
        for start in range(lines.num_done, len(ALL), 3):
            if stop is not None and start >= stop:
                raise KeyboardInterrupt
            lines.append(ALL[start : start + 3])


def test_all_lines_in_one_go(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    write(path)
    assert path.read_text().splitlines() == ALL
    assert list(tmp_path.iterdir()) == [path]


def test_a_stop_at_every_byte(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    with pytest.raises(KeyboardInterrupt):
        write(path, stop=6)
    assert not path.exists()
    sidecar = tmp_path / "out.jsonl.partial.json"
    kept = sidecar.read_text()
    whole = "".join(f"{line}\n" for line in ALL).encode()
    for size in range(len(whole) + 1):
        partial.write_bytes(whole[:size])
        sidecar.write_text(kept)
        with ResumableLines(str(path), SETTINGS, 3) as lines:
            assert lines.num_done == whole[:size].count(b"\n") // 3 * 3
            assert lines.last_line == (
                ALL[lines.num_done - 1] if lines.num_done else None
            )
            for start in range(lines.num_done, len(ALL), 3):
                lines.append(ALL[start : start + 3])
        assert path.read_bytes() == whole
        assert list(tmp_path.iterdir()) == [path]


def test_a_stop_before_the_first_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.jsonl"
    # Lines whose settings nobody knows are nobody's.
    (tmp_path / "out.jsonl.partial").write_text("half a li")
    write(path)
    assert path.read_text().splitlines() == ALL


def test_another_command(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write(path, stop=6)
    other = {**SETTINGS, "model_dir": "n"}
    with pytest.raises(
        ValueError, match=r"another command.*model_dir was 'm', is 'n'"
    ):
        ResumableLines(str(path), other, 3)
    # Refused, not dropped.
    assert (tmp_path / "out.jsonl.partial").read_text().count("\n") == 6
    with ResumableLines(str(path), other, 3, overwrite=True) as lines:
        assert lines.num_done == 0
        lines.append(["x"])
    assert path.read_text() == "x\n"


@pytest.mark.parametrize("blocks", [0, 1])
def test_bad_input_loses_no_block(tmp_path: pathlib.Path, blocks: int) -> None:
    path = tmp_path / "out"

    def fail() -> None:
        with ResumableLines(str(path), SETTINGS, 3) as lines:
            for _ in range(blocks - lines.num_done // 3):
                lines.append(["a", "b", "c"])
            raise ValueError("bad row")

    # The second time there is nothing to append.
    for _ in range(2):
        with pytest.raises(ValueError, match="bad row"):
            fail()
        assert len(list(tmp_path.iterdir())) == 2 * blocks
    with ResumableLines(str(path), SETTINGS, 3) as lines:
        assert lines.num_done == 3 * blocks
        lines.append(["d"])
    assert path.read_text().split() == ["a", "b", "c"] * blocks + ["d"]
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "out")
    with (
        ResumableLines(path, SETTINGS, 3),
        pytest.raises(ValueError, match="Received: .*out, in use"),
    ):
        ResumableLines(path, SETTINGS, 3)


def test_a_damaged_sidecar_and_a_remote_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out.partial.json").write_text(json.dumps(SETTINGS)[:-3])
    with pytest.raises(ValueError, match=r"out.partial.json must.*Received: "):
        ResumableLines(str(tmp_path / "out"), SETTINGS, 3)
    with pytest.raises(ValueError, match=r"must be local.*gs://bucket/out"):
        ResumableLines("gs://bucket/out", SETTINGS, 3)
