"""A program that is killed at its work."""

import pathlib
import signal
import subprocess
import sys
import time

_ROOT = pathlib.Path(__file__).parents[2]
_SECONDS = 60


def kill_at(path: pathlib.Path, program: str, *args: str) -> None:
    """Runs a program in Python, and kills it as soon as a file is there.

    Args:
        path: The file that it writes.
        program: Its text.
        *args: Its arguments.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", program, *args],
        cwd=_ROOT,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + _SECONDS
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
