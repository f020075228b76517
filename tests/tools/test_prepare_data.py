"""Tests of tools.prepare_data, run as users run it."""

import json
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[2]
_VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##a"]


def _run(folder: pathlib.Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(sys.executable, "-m", "tools.prepare_data"),
            f"--input_files={folder}/*.txt",
            f"--tokenizer={folder / 'vocab'}",
            f"--output_dir={folder / 'shards'}",
            *flags,
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _write_inputs(folder: pathlib.Path) -> None:
    (folder / "text.txt").write_text("a b c\nb a\n\nc aa\na b\n" * 20)
    (folder / "vocab").write_text("\n".join(_VOCAB) + "\n")


def test_shards_are_prepared(tmp_path: pathlib.Path) -> None:
    _write_inputs(tmp_path)
    done = _run(
        tmp_path,
        "--pair_objective=sop",
        "--seq_length=16",
        "--masking=span",
        "--mask_rate=0.3",
        "--static_masks",
        "--seed=3",
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "shards/manifest.json").read_text())
    made = content["settings"]
    assert made["instances"]["pair_objective"] == "sop"
    assert made["instances"]["seed"] == 3
    assert made["static_masks"]["unit"] == "span"
    assert made["static_masks"]["max_predictions"] == 5
    assert content["num_examples"] > 0


def test_bad_input_is_one_line(tmp_path: pathlib.Path) -> None:
    _write_inputs(tmp_path)
    (tmp_path / "bad.txt").write_bytes(b"\0\1\2")
    done = _run(tmp_path)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "bad.txt" in line]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
