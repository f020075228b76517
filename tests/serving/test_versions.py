"""What killed exports left, and what running ones write."""

import logging
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.serving.serve_process import ROOT
from tfllm.serving import versions

WRITER = """
import sys, time
from tfllm.serving.versions import new_version
with new_version(sys.argv[1], int(sys.argv[2])) as folder:
    (folder / "half").write_text("written")
    print(folder.name, flush=True)
    time.sleep(600)
"""


class Writer:
    """An export of another process that is never done."""

    def __init__(self, base: pathlib.Path, version: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(base), str(version)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.folder = base / self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def writers(tmp_path: pathlib.Path) -> Iterator[list[Writer]]:
    found = [Writer(tmp_path, number) for number in (1, 2)]
    yield found
    for one in found:
        one.kill()


def test_leftovers_of_the_killed_are_removed(
    tmp_path: pathlib.Path,
    writers: list[Writer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    killed, running = writers
    killed.kill()
    assert (killed.folder / "half").exists()
    (tmp_path / ".tmp-old").write_text("a file is nobody's export")
    # Of the user: names that no export gives.
    mine = [tmp_path / name for name in (".tmp-mine", ".tmp-3", ".tmp-3-4x")]
    for one in mine:
        one.mkdir()
    caplog.set_level(logging.WARNING)
    with versions.new_version(str(tmp_path), 3) as folder:
        (folder / "whole").touch()
        assert not killed.folder.exists()
        assert (running.folder / "half").read_text() == "written"
    assert all(one.is_dir() for one in mine)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"removed from {tmp_path} what killed exports left there: "
        f"{killed.folder.name}"
    )
    assert (tmp_path / "3" / "whole").exists()
    assert not folder.exists()


def test_nothing_is_said_without_leftovers(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        with versions.new_version(str(tmp_path), number):
            pass
    assert not caplog.records
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
