"""When files count as the same."""

import os
import pathlib
import shutil

import pytest

from tfllm.data import fingerprints, prepared_folder
from tfllm.data.masked import shards

LARGE = 1 << 20


def of(folder: pathlib.Path) -> dict[str, str]:
    found = fingerprints.of_files(f"{folder}/*.txt", "train_files")
    return {os.path.basename(path): value for path, value in found.items()}


@pytest.mark.parametrize("size", [0, 1, 3 << 16, LARGE])
def test_a_copy_is_the_same(tmp_path: pathlib.Path, size: int) -> None:
    """At another time, on another machine."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "here" / "a.txt").write_bytes(b"x" * size)
    shutil.copy(tmp_path / "here" / "a.txt", tmp_path / "there" / "a.txt")
    os.utime(tmp_path / "there" / "a.txt", (1, 1))
    assert of(tmp_path / "here") == of(tmp_path / "there")


@pytest.mark.parametrize("place", [0, LARGE // 2, LARGE - 1])
def test_a_change_is_seen(tmp_path: pathlib.Path, place: int) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_bytes(b"x" * LARGE)
    before = of(tmp_path)
    assert before["a.txt"] == before["b.txt"]
    content = bytearray(b"x" * LARGE)
    content[place] = ord("y")
    (tmp_path / "a.txt").write_bytes(content)
    after = of(tmp_path)
    assert after["a.txt"] != before["a.txt"]
    assert after["b.txt"] == before["b.txt"]
    (tmp_path / "a.txt").write_bytes(b"x" * (LARGE + 1))
    assert of(tmp_path)["a.txt"] not in (before["a.txt"], after["a.txt"])


def test_shards_have_one_together(tmp_path: pathlib.Path) -> None:
    folder = str(tmp_path)
    for index in range(2):
        pathlib.Path(shards.shard_path(folder, index)).write_bytes(b"x")
    settings = {
        "format_version": prepared_folder.FORMAT_VERSION,
        "task": shards.TASK,
    }
    shards.write_manifest(folder, settings, [1, 1])
    first = fingerprints.of_files(folder, "train_files")
    assert list(first) == [folder]
    pathlib.Path(shards.shard_path(folder, 1)).write_bytes(b"y")
    second = fingerprints.of_files(folder, "train_files")
    shards.write_manifest(folder, {**settings, "seed": 1}, [1, 1])
    third = fingerprints.of_files(folder, "train_files")
    assert len({found[folder] for found in (first, second, third)}) == 3


def test_data_sets_have_none() -> None:
    assert fingerprints.of_files("tfds:trec/train", "train_files") == {}
