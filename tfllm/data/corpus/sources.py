"""Streams the documents of text, JSONL and gzip files.

Documents are yielded one by one as bytes: decoding is a cleaning step with its
own counts. Memory depends on the longest document, not on the file.
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
    """Settings that turn files into documents.

    Attributes:
        input_files: Paths and globs, comma-separated, local or remote.
        document_per: What a document of a plain text file is: the text
            between blank lines, a line, or the file (which must then fit in
            memory). JSONL files have one document per line.
        text_field: Field of a JSONL record with the text.
        on_bad_record: "fail", or "skip" to skip and count bad records.
    """

    input_files: str = ""
    document_per: str = "blank_line"
    text_field: str = "text"
    on_bad_record: str = "fail"

    def __post_init__(self) -> None:
        """Checks the values."""
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
    """Returns whether a file is JSONL, by its name."""
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

    Gzip is recognized by content, not by name.

    Raises:
        ValueError: The file is empty, binary, UTF-16, or a damaged gzip file.
    """
    with text_files.open_bytes(path) as file:
        start = file.read(_PROBE)
        file.seek(0)
        _check_text(path, start)
        yield file


def read_lines(path: str) -> Iterator[bytes]:
    """Yields the lines of a plain or gzip file, without line ends or a BOM.

    Raises:
        ValueError: See `open_text`.
    """
    with open_text(path) as file:
        for number, line in enumerate(file):
            if number == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield line.rstrip(b"\r\n")


class RecordReader:
    """Reads files as documents, and counts bad records.

    Args:
        config: How files become documents.

    Attributes:
        counts: `dropped/bad_record/documents`, if records were skipped.
    """

    def __init__(self, config: FilesConfig) -> None:
        self.config = config
        self.counts: collections.Counter[str] = collections.Counter()

    def read(self, path: str) -> Iterator[bytes | str]:
        """Yields the documents of a file in order, without blank ones.

        Yields:
            bytes of plain text files; str of JSONL files.

        Raises:
            ValueError: The file cannot be used, or a JSONL record is bad and
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
        """Returns the text of a JSONL record."""
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
    """Returns the total size of local files; None if one is remote."""
    if any(map(file_access.is_remote, paths)):
        return None
    return sum(os.path.getsize(path) for path in paths)
