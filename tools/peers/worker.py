"""Starts worker processes and talks to them."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

_QUIT_SECONDS = 10


class SideError(Exception):
    """Failure of a side; the table shows the message."""


def last_lines(text: str, count: int = 4) -> str:
    """Returns the last non-blank lines of a log, joined to one line.

    Args:
        text: The log.
        count: Number of lines to keep.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-count:])


def stop(process: subprocess.Popen[Any]) -> None:
    """Kills a process and its children.

    Args:
        process: Process started with `start_new_session=True`.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Worker:
    """Process of a side, which answers one command at a time.

    Args:
        command: Command of a process that calls `protocol.serve`.
        env: Environment variables.
        cwd: Working folder.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: str
    ) -> None:
        # Closed in `close`.
        self._log = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8"
        )
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=dict(env),
            cwd=cwd,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def ask(self, command: str, timeout: float, **fields: Any) -> Any:
        """Sends a command and waits for its answer.

        Args:
            command: Name of a command in `protocol`.
            timeout: Seconds to wait.
            **fields: Arguments of the command.

        Returns:
            Result of the answer.

        Raises:
            SideError: The worker fails, dies, or does not answer in time. The
                process is killed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(
                json.dumps({"command": command, **fields}) + "\n"
            )
            self._process.stdin.flush()
            line = self._answers.get(timeout=timeout)
        except queue.Empty as error:
            raise self._failure(
                f"no answer to `{command}` within {timeout:.0f} s"
            ) from error
        except BrokenPipeError:
            line = None
        if line is None:
            self._process.wait()
            raise self._failure(f"exited with {self._process.returncode}")
        try:
            answer = json.loads(line)
        except json.JSONDecodeError as error:
            raise self._failure(f"answered {line[:80]!r}") from error
        if not answer["ok"]:
            raise self._failure(answer["error"])
        return answer["result"]

    def _failure(self, reason: str) -> SideError:
        self._log.seek(0)
        log = last_lines(self._log.read())
        stop(self._process)
        self.close()
        return SideError(f"{reason} | {log}" if log else reason)

    def close(self) -> None:
        """Asks the worker to quit; kills it if it does not."""
        if self._log.closed:
            return
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            assert self._process.stdin is not None
            if self._process.poll() is None:
                self._process.stdin.write('{"command": "quit"}\n')
                self._process.stdin.close()
                self._process.wait(_QUIT_SECONDS)
        stop(self._process)
        self._reader.join()
        for stream in (
            self._process.stdin,
            self._process.stdout,
            self._log,
        ):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
