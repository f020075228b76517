"""Tests of the build_vocab command."""

import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.build_vocab", *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=120,
    )


def test_vocabulary(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("reading readers read readable books\n" * 9)
    result = _run(
        f"--input_files={tmp_path}/*.txt",
        "--vocab_size=60",
        f"--output_dir={tmp_path}/out",
    )
    assert result.returncode == 0, result.stderr
    tokens = (tmp_path / "out/vocab.txt").read_text().split()
    assert tokens[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert "read" in tokens


def test_other_kinds_are_refused(tmp_path: pathlib.Path) -> None:
    result = _run("--kind=sentencepiece", f"--output_dir={tmp_path}")
    assert result.returncode == 1
    assert "wordpiece" in result.stderr
    assert "sentencepiece" in result.stderr
