"""Streams the documents of the user's text, JSONL and gzip files.

Bytes are handed on undecoded, a document at a time: decoding is a cleaning
step with its own counts, and memory follows the longest document rather than
the file.
"""

import collections
import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import IO, cast

from tfllm import file_access
from tfllm.data import text_files
from tfllm.data.bad_records import ON_BAD_RECORD

DOCUMENT_PER = ("blank_line", "line", "file")
_JSONL_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_PROBE = 1 << 16


@dataclasses.dataclass(frozen=True)
class FilesConfig:
    """How files become documents.

    Attributes:
        input_files: paths and globs, comma-separated, local or remote.
        document_per: what a document of a plain text file is: the text
            between blank lines, a line, or the file (which must then fit in
            memory). JSONL files have one per line.
        text_field: field of a JSONL record that holds the text.
        on_bad_record: "fail", or "skip" to count records that do not parse.
    """

    input_files: str = ""
    document_per: str = "blank_line"
    text_field: str = "text"
    on_bad_record: str = "fail"

    def __post_init__(self) -> None:
        """Refuses unknown choices."""
        for name, choices in (
            ("document_per", DOCUMENT_PER),
            ("on_bad_record", ON_BAD_RECORD),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(choices)}. "
                    f"Received: {getattr(self, name)}."
                )
        if not self.text_field:
            raise ValueError("`text_field` must not be empty. Received: ''.")


def is_jsonl(path: str) -> bool:
    """Whether a file's name says that each line is a JSON record."""
    return path.lower().endswith(_JSONL_SUFFIXES)


def _check_text(path: str, start: bytes) -> None:
    """Raises ValueError if the first bytes of a file are not text."""
    if not start:
        raise ValueError(
            f"The input file is empty. Received: {path}. "
            "Remove it from `input_files`."
        )
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(
            f"The input file is UTF-16, not UTF-8. Received: {path}. "
            "Convert it: iconv -f UTF-16 -t UTF-8."
        )
    if b"\0" in start or start.startswith(b"%PDF-"):
        raise ValueError(
            f"The input file is binary, not text. Received: {path}. "
            "Give plain text, JSONL, or gzip of either."
        )


@contextlib.contextmanager
def open_text(path: str) -> Iterator[IO[bytes]]:
    """Opens a plain or gzip file for reading its text as bytes.

    Gzip is recognised by content, not by name.

    Raises:
        ValueError: the file is empty, binary, UTF-16, or a damaged gzip file.
    """
    with text_files.open_bytes(path) as file:
        start = file.read(_PROBE)
        file.seek(0)
        _check_text(path, start)
        yield file


def read_lines(path: str) -> Iterator[bytes]:
    """The lines of a plain or gzip file, without their ends or a BOM.

    Raises:
        ValueError: see `open_text`.
    """
    with open_text(path) as file:
        for number, line in enumerate(file):
            if number == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield line.rstrip(b"\r\n")


class RecordReader:
    """Reads files as records, counting what was not usable.

    Args:
        config: FilesConfig.

    Attributes:
        counts: `dropped/bad_record/documents`, if records were skipped.
    """

    def __init__(self, config: FilesConfig) -> None:
        """Starts with no counts."""
        self.config = config
        self.counts: collections.Counter[str] = collections.Counter()

    def read(self, path: str) -> Iterator[bytes | str]:
        """The documents of one file, in order; none is blank.

        Yields:
            bytes of plain text files; str of JSONL files.

        Raises:
            ValueError: the file is not usable, or a JSONL record is bad and
                `on_bad_record` is "fail".
        """
        if is_jsonl(path):
            return self._read_jsonl(path)
        if self.config.document_per == "file":
            return self._read_whole(path)
        return self._read_text(path)

    def _read_whole(self, path: str) -> Iterator[bytes]:
        yield b"\n".join(read_lines(path))

    def _read_text(self, path: str) -> Iterator[bytes]:
        per_line = self.config.document_per == "line"
        lines: list[bytes] = []
        for line in read_lines(path):
            if line.strip():
                lines.append(line)
            if lines and (per_line or not line.strip()):
                yield b"\n".join(lines)
                lines = []
        if lines:
            yield b"\n".join(lines)

    def _read_jsonl(self, path: str) -> Iterator[str]:
        for number, line in enumerate(read_lines(path), start=1):
            if not line.strip():
                continue
            try:
                yield self._text_of(line)
            except ValueError as error:  # also JSON and Unicode errors
                if self.config.on_bad_record == "fail":
                    raise ValueError(
                        f"A JSONL record is bad. Received: {path}, line "
                        f"{number}: {error}. Repair it, or skip such records "
                        "with --on_bad_record=skip."
                    ) from error
                self.counts["dropped/bad_record/documents"] += 1

    def _text_of(self, line: bytes) -> str:
        record = json.loads(line.decode("utf-8"))
        field = self.config.text_field
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
        if field not in record:
            raise ValueError(
                f"no field `{field}` (--text_field), only "
                f"{', '.join(sorted(record)) or 'none'}"
            )
        if not isinstance(record[field], str):
            raise ValueError(f"`{field}` is not a string")
        return cast(str, record[field])


def total_bytes(paths: list[str]) -> int | None:
    """Size of local files on disk, or None if one is remote."""
    if any(map(file_access.is_remote, paths)):
        return None
    return sum(os.path.getsize(path) for path in paths)
