"""Reads tables as rows, whatever their format.

Rows come from CSV or TSV, JSON lines, lines of plain text, lines split by a
regular expression, or TensorFlow Datasets (`tfds:NAME/SPLIT`).
"""

import csv
import dataclasses
import itertools
import json
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tfllm import file_access
from tfllm.data import text_files
from tfllm.data.bad_records import BadRecords
from tfllm.data.tables import tfds
from tfllm.data.tables.config import TableConfig
from tfllm.data.tables.row import Row, is_tfds, names_column, no_column

# Format by suffix, for `format=auto`.
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_PROBED_LINES = 20


def read_rows(
    files: str,
    columns: tuple[str, ...],
    config: TableConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Row]:
    """Yields the rows of all files.

    Args:
        files: Paths and globs, comma-separated, or `tfds:NAME/SPLIT`.
        columns: Columns to read, by name or number.
        config: How files become rows.
        bad: Counts or refuses bad rows.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: A file cannot be read, lacks a column, or has a bad row
            that may not be skipped.
    """
    if is_tfds(files):
        yield from tfds.read_rows(files)
        return
    for path in file_access.match_files(files, flag):
        with text_files.open_decoded(path, config.encoding) as file:
            yield from parse_rows(file, path, columns, config, bad)


def parse_rows(
    lines: Iterable[str],
    path: str,
    columns: tuple[str, ...],
    config: TableConfig,
    bad: BadRecords,
) -> Iterator[Row]:
    """Yields the rows of one file, or of standard input.

    Args:
        lines: Lines of the file, with their ends.
        path: Name of the file.
        columns: Columns to read.
        config: How lines become rows.
        bad: Counts or refuses bad rows.

    Raises:
        ValueError: See `read_rows`.
    """
    iterator = iter(lines)
    probe = list(itertools.islice(iterator, _PROBED_LINES))
    lines = itertools.chain(probe, iterator)
    kind = _format_of(path, probe, columns, config)
    if config.line_pattern:
        return _parse_pattern(lines, path, re.compile(config.line_pattern), bad)
    if kind == "jsonl":
        return _parse_json(lines, path, bad)
    if kind == "text":
        return (
            Row(path, number, {"text": line})
            for number, line in _text_lines(lines)
        )
    return _parse_table(
        lines, path, columns, _dialect(kind, probe, config), bad
    )


def suffix_of(path: str) -> str:
    """Returns the suffix of a file in lower case, ignoring `.gz`."""
    return os.path.splitext(path.lower().removesuffix(".gz"))[1]


def _format_of(
    path: str, probe: list[str], columns: tuple[str, ...], config: TableConfig
) -> str:
    """Returns csv, tsv, jsonl or text."""
    if config.format != "auto":
        return config.format
    suffix = suffix_of(path)
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if config.delimiter or _has_tabs(probe):
        return "tsv"
    if _has_objects(probe):
        return "jsonl"
    return "csv" if _names_columns(probe, columns) else "text"


def _has_tabs(probe: list[str]) -> bool:
    """Returns whether each non-blank line has a tab."""
    filled = [line for line in probe if line.strip()]
    return bool(filled) and all("\t" in line.strip("\r\n") for line in filled)


def _has_objects(probe: list[str]) -> bool:
    """Returns whether each non-blank line is a JSON object."""
    filled = [line for line in probe if line.strip()]
    try:
        return bool(filled) and all(
            isinstance(json.loads(line), dict) for line in filled
        )
    except ValueError:
        return False


def _names_columns(probe: list[str], columns: tuple[str, ...]) -> bool:
    """Returns whether the first line is a header with the columns to read."""
    first = probe[0] if probe else ""
    names = [name.strip(' "\r\n') for name in re.split("[,;]", first)]
    return len(names) > 1 and bool(columns) and set(columns) <= set(names)


def _text_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yields non-blank lines, with their numbers from 1."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line.rstrip("\r\n")


@dataclasses.dataclass(frozen=True)
class _Dialect:
    """How the lines of a table are split."""

    separator: str
    quotes: bool
    has_header: bool | None


def _dialect(kind: str, probe: list[str], config: TableConfig) -> _Dialect:
    """Returns the dialect of the config; detects what it leaves open."""
    separator = config.separator
    if not separator:
        first = probe[0] if probe else ""
        if kind == "tsv" or _has_tabs(probe):
            separator = "\t"
        else:
            separator = ";" if first.count(";") > first.count(",") else ","
    quotes = config.quotes
    if quotes is None:
        quotes = separator != "\t"
    return _Dialect(separator, quotes, config.has_header)


def _parse_table(
    lines: Iterable[str],
    path: str,
    columns: tuple[str, ...],
    dialect: _Dialect,
    bad: BadRecords,
) -> Iterator[Row]:
    """Yields the rows of a table with delimiters."""
    has_header = dialect.has_header
    if has_header is None:
        has_header = not all(column.isdecimal() for column in columns)
    names: list[str] | None = None
    for number, fields in _split_fields(lines, path, dialect, bad):
        if has_header and names is None:
            names = _header(fields, path, number, columns)
        elif names is None:
            keys = map(str, range(len(fields)))
            yield Row(path, number, dict(zip(keys, fields, strict=True)), True)
        elif len(fields) != len(names):
            bad.add(
                f"{path}, line {number}",
                path,
                f"{len(fields)} columns, but the header has {len(names)}",
            )
        else:
            yield Row(path, number, dict(zip(names, fields, strict=True)), True)


def _header(
    fields: list[str], path: str, number: int, columns: tuple[str, ...]
) -> list[str]:
    """Returns the names of the columns; ValueError if one is missing."""
    names = [name.strip() or str(i) for i, name in enumerate(fields)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"The columns of a table must have different names. Received: "
            f"{twice[0]!r} twice in {path}, line {number}. Rename one; if the "
            "table has no header, give numbers, such as --text_column=0 "
            "--label_column=1, and --has_header=false."
        )
    for column in columns:
        if column in names or names_column(column, names):
            continue
        raise ValueError(
            "The columns of a table must be those that the flags name. "
            f"Received: {path}, line {number}: {no_column(column, names)}. "
            "Name the columns with --text_column and --label_column; if the "
            "table has no header, give numbers, such as --text_column=0 "
            "--label_column=1."
        )
    return names


def _split_fields(
    lines: Iterable[str], path: str, dialect: _Dialect, bad: BadRecords
) -> Iterator[tuple[int, list[str]]]:
    """Yields the first line and the fields of each non-blank row."""
    separator = dialect.separator
    if not dialect.quotes:
        for number, line in _text_lines(lines):
            yield number, line.split(separator)
        return
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rest = _PushedBack(lines)
    number = 1
    while True:
        row = rest.noted()
        try:
            fields = next(csv.reader(row, delimiter=separator, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            # After a stray quote, the lines that it enclosed are read again.
            bad.add(f"{path}, line {number}", path, error)
            rest.push_back(rest.taken[1:])
            number += 1
            continue
        if any(field.strip() for field in fields):
            yield number, fields
        number += len(rest.taken)


class _PushedBack:
    """Lines that can be pushed back.

    Attributes:
        taken: Lines that the last iterator of `noted` yielded.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._pushed: deque[str] = deque()
        self.taken: list[str] = []

    def noted(self) -> Iterator[str]:
        """Yields the next lines, and records them in a new `taken`."""
        taken = self.taken = []
        while True:
            line = (
                self._pushed.popleft()
                if self._pushed
                else next(self._lines, None)
            )
            if line is None:
                return
            taken.append(line)
            yield line

    def push_back(self, lines: Sequence[str]) -> None:
        """Puts lines back, before all others."""
        self._pushed.extendleft(reversed(lines))


def _parse_json(
    lines: Iterable[str], path: str, bad: BadRecords
) -> Iterator[Row]:
    """Yields the rows of JSON lines."""
    for number, line in _text_lines(lines):
        try:
            fields = json.loads(line)
        except ValueError as error:
            bad.add(f"{path}, line {number}", path, f"not JSON: {error}")
            continue
        problem = _json_problem(fields, line)
        if problem:
            bad.add(f"{path}, line {number}", path, problem)
        else:
            yield Row(path, number, fields)


def _json_problem(fields: Any, line: str) -> str:
    """Returns why a JSON value cannot be a row, or ""."""
    if not isinstance(fields, dict):
        return "not a JSON object"
    # Only an escape can encode half of a surrogate pair.
    for name, value in fields.items() if "\\u" in line else ():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return f"column {name!a} has half of a surrogate pair"
    return ""


def _parse_pattern(
    lines: Iterable[str], path: str, pattern: re.Pattern[str], bad: BadRecords
) -> Iterator[Row]:
    """Yields the named groups of each line as a row."""
    for number, line in _text_lines(lines):
        match = pattern.fullmatch(line)
        if match:
            yield Row(path, number, match.groupdict(""))
        else:
            bad.add(
                f"{path}, line {number}",
                path,
                f"{line!r} does not match `line_pattern`",
            )
