"""A file of lines that goes on where a killed process stopped.

The lines collect in `PATH.partial`, which becomes PATH when all are there.
Beside it `PATH.partial.json` says from what they came: the same command
continues them, another is refused. Nothing else is needed, since a line is
either complete, and counts, or is cut off and made again.
"""

import fcntl
import json
from collections.abc import Sequence
from typing import IO, Any

from tfllm.file_access import is_remote, remove, rename, write_atomically

SUFFIX = ".partial"


class ResumableLines:
    """Appends lines in blocks of a fixed number; a context manager.

    A block that was written in part is dropped, so that what continues
    meets the same blocks, and gives the same lines, as without the stop.

    Args:
        path: Of the finished file; local.
        settings: JSON values; what decides the lines.
        block: Lines of a block; only the last one may be shorter.
        overwrite: Drop what a process of other settings left.

    Attributes:
        num_done: Lines that were found, whole blocks.
        last_line: The last of them, or None.

    Raises:
        ValueError: The path is remote, another process writes it, or what
            is there has other settings.
    """

    def __init__(
        self,
        path: str,
        settings: dict[str, Any],
        block: int,
        overwrite: bool = False,
    ) -> None:
        """See the class."""
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
            lines: Without their line ends.
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
        """Gives the file its name, or leaves it for the next process.

        After bad input (a ValueError) whole blocks stay; where there is none,
        nothing does. The file is closed last, since that frees the lock.
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
            # A file system without locks.
            return file
        return file

    def _resume(
        self, settings: dict[str, Any], overwrite: bool
    ) -> tuple[int, str | None]:
        """Cuts the file to whole blocks; returns their lines and the last."""
        found = self._settings()
        if found is not None and found != settings and not overwrite:
            differing = [
                f"{name} was {found.get(name)!r}, is {settings.get(name)!r}"
                for name in sorted({*found, *settings})
                if found.get(name) != settings.get(name)
            ]
            raise ValueError(
                f"`output_file`: {self._partial} is the work of another "
                "command. Repeat that one to continue, give another file, "
                f"or --overwrite to drop it. Received: {'; '.join(differing)}"
            )
        if found != settings:
            self._file.truncate(0)
            text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
            with write_atomically(self._sidecar) as file:
                file.write(text)
            return 0, None
        return self._whole_blocks()

    def _settings(self) -> dict[str, Any] | None:
        """Returns the settings of the lines that are there, if any."""
        try:
            with open(self._sidecar, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(
                f"`output_file`: {self._sidecar} must be JSON. Received: "
                f"{error}. Delete it to start again."
            ) from error
        return found if isinstance(found, dict) else {}

    def _whole_blocks(self) -> tuple[int, str | None]:
        """Cuts the file behind its last whole block."""
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
