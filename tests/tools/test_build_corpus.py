"""Tests of the build_corpus command."""

import json
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.build_corpus", *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=120,
    )


def test_build_and_reuse(tmp_path: pathlib.Path) -> None:
    records = [{"body": f"Tale {i} of a ship. It sank."} for i in range(40)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    flags = (
        "--source=files",
        f"--input_files={path}",
        "--text_field=body",
        "--min_chars=5",
        "--near_duplicate_threshold=0",
        "--heldout_fraction=0.3",
        f"--output_dir={tmp_path}/out",
    )
    result = _run(*flags)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["counts"]["train"]["documents"] > 0
    assert report["settings"]["files"]["text_field"] == "body"
    assert "nothing to do" in _run(*flags).stdout
    other = _run(*flags, "--min_chars=6")
    assert other.returncode == 1
    assert "other settings" in other.stderr
    assert _run(*flags, "--min_chars=6", "--overwrite").returncode == 0


def test_bad_input_is_one_line(tmp_path: pathlib.Path) -> None:
    result = _run(
        "--source=files",
        "--input_files=nowhere.txt",
        f"--output_dir={tmp_path}/out",
    )
    assert result.returncode == 1
    assert "nowhere.txt" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
