"""Writes a file of lines that can be resumed after a kill.

Lines are appended to `PATH.partial`, which is renamed to PATH at the end.
`PATH.partial.json` records the settings that made them: the same command
continues the file, another one is refused. A line that was cut off is written
again.
"""

import fcntl
import json
from collections.abc import Sequence
from typing import IO, Any

from tfllm.file_access import is_remote, remove, rename, write_atomically

SUFFIX = ".partial"


class ResumableLines:
    """Appends lines in blocks of a fixed size; a context manager.

    An incomplete block is dropped on resumption, so that blocks, and the
    lines in them, are the same as without a stop.

    Args:
        path: Local path of the finished file.
        settings: JSON values that decide the lines.
        block: Lines per block; only the last block may be shorter.
        overwrite: Drop lines that were made with other settings.

    Attributes:
        num_done: Lines of earlier runs, in whole blocks.
        last_line: The last of them, or None.

    Raises:
        ValueError: The path is remote, another process writes to it, or its
            lines were made with other settings.
    """

    def __init__(
        self,
        path: str,
        settings: dict[str, Any],
        block: int,
        overwrite: bool = False,
    ) -> None:
        if is_remote(path):
            raise ValueError(
                "`output_file` must be local, to go on after a stop. "
                f"Received: {path}. Write it here, then copy it."
            )
        self.path = path
        self.block = block
        self._partial = path + SUFFIX
        self._sidecar = path + SUFFIX + ".json"
        self._file = self._open()
        try:
            self.num_done, self.last_line = self._resume(
                json.loads(json.dumps(settings)), overwrite
            )
        except BaseException:
            self._file.close()
            raise
        self._has_lines = bool(self.num_done)

    def append(self, lines: Sequence[str]) -> None:
        """Writes a block.

        Args:
            lines: Lines without line ends.
        """
        assert all("\n" not in line for line in lines)
        data = "".join(line + "\n" for line in lines)
        self._file.write(data.encode("utf-8"))
        self._file.flush()
        self._has_lines = True

    def __enter__(self) -> "ResumableLines":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Renames the finished file, or leaves it to be resumed.

        After bad input (a ValueError), a file without lines is deleted. The
        file is closed last, since that releases the lock.
        """
        if kind is None:
            rename(self._partial, self.path)
            remove(self._sidecar)
        elif issubclass(kind, ValueError) and not self._has_lines:
            remove(self._partial)
            remove(self._sidecar)
        self._file.close()

    def _open(self) -> IO[bytes]:
        """Returns the open file, locked against other processes."""
        file = open(self._partial, "ab+")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise ValueError(
                "`output_file` must be a file that no other process writes. "
                f"Received: {self.path}, in use. Give another file, or end "
                "that process."
            ) from error
        except OSError:
            # The file system has no locks.
            return file
        return file

    def _resume(
        self, settings: dict[str, Any], overwrite: bool
    ) -> tuple[int, str | None]:
        """Cuts the file to whole blocks; returns their lines and the last."""
        stored = self._stored_settings()
        if stored is not None and stored != settings and not overwrite:
            differing = [
                f"{name} was {stored.get(name)!r}, is {settings.get(name)!r}"
                for name in sorted({*stored, *settings})
                if stored.get(name) != settings.get(name)
            ]
            raise ValueError(
                f"`output_file`: {self._partial} is the work of another "
                "command. Repeat that one to continue, or give another file. "
                f"Received: {'; '.join(differing)}"
            )
        if stored != settings:
            self._file.truncate(0)
            text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
            with write_atomically(self._sidecar) as file:
                file.write(text)
            return 0, None
        return self._whole_blocks()

    def _stored_settings(self) -> dict[str, Any] | None:
        """Returns the settings of earlier lines; None if there are none."""
        try:
            with open(self._sidecar, encoding="utf-8") as file:
                stored = json.load(file)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(
                f"`output_file`: {self._sidecar} must be JSON. Received: "
                f"{error}. Give another file, or move it away together with "
                f"{self._partial}."
            ) from error
        return stored if isinstance(stored, dict) else {}

    def _whole_blocks(self) -> tuple[int, str | None]:
        """Cuts the file after its last whole block; see `_resume`."""
        self._file.seek(0)
        count = end = place = 0
        last = b""
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            place += len(line)
            if number % self.block == 0:
                count, end, last = number, place, line
        self._file.truncate(end)
        return count, last.decode("utf-8").rstrip("\n") if count else None
