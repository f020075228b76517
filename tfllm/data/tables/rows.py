r"""Tables: files of one record per row, whatever their form.

A row is CSV or TSV, a JSON object per line, a line of plain text, a line cut
by a regular expression, or an example of TensorFlow Datasets
(`tfds:NAME/SPLIT`). It knows the line where it begins.
"""

import csv
import dataclasses
import difflib
import itertools
import json
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple

from tfllm import file_access
from tfllm.data import text_files
from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.tables.config import TableConfig

TFDS_PREFIX = "tfds:"
# How a file is read that has one of these suffixes, for `format=auto`.
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_PROBED_LINES = 20


class Row(NamedTuple):
    """One record of a table.

    Attributes:
        path: The file, or `tfds:NAME/SPLIT`.
        line: Line where it begins, from 1; of tfds, its number.
        fields: Values by column. Columns without a name are "0", "1", ...
        numbered: Whether columns have an order, so that a number names one.
    """

    path: str
    line: int
    fields: dict[str, Any]
    numbered: bool = False

    @property
    def where(self) -> str:
        """The place for a message."""
        kind = "example" if self.path.startswith(TFDS_PREFIX) else "line"
        return f"{self.path}, {kind} {self.line}"

    def get(self, column: str) -> Any:
        """Returns a value by the column's name or number.

        Raises:
            BadRecord: There is no such column.
        """
        if column in self.fields:
            return self.fields[column]
        if _names_column(column, self.fields) and self.numbered:
            return list(self.fields.values())[int(column)]
        raise BadRecord(no_column(column, self.fields))

    def lacks(self, column: str) -> bool:
        """Returns whether this row alone, not its file, has no such column."""
        return not self.numbered and column not in self.fields


def no_column(column: str, found: Iterable[str]) -> str:
    """Says that a column is missing, and which there are."""
    names = list(found)
    near = difflib.get_close_matches(column, names, n=1)
    hint = f"; did you mean {near[0]!r}" if near else ""
    return f"no column {column!r} among {', '.join(map(repr, names))}{hint}"


def _names_column(column: str, columns: Sized) -> bool:
    """Whether a text is the number of one of some columns."""
    return column.isdecimal() and int(column) < len(columns)


def is_tfds(files: str) -> bool:
    """Whether a flag names a set of TensorFlow Datasets."""
    return files.startswith(TFDS_PREFIX)


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
        columns: Columns that will be read, by name or number.
        config: How files become rows.
        bad: Takes the bad ones.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: A file cannot be read, lacks a column, or holds a bad
            record that is not to be skipped.
    """
    if is_tfds(files):
        from tfllm.data.tables import tfds

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
        lines: Its lines, with their ends.
        path: Its name.
        columns: Columns that will be read.
        config: How lines become rows.
        bad: Takes the bad ones.

    Raises:
        ValueError: See `read_rows`.
    """
    iterator = iter(lines)
    probe = list(itertools.islice(iterator, _PROBED_LINES))
    lines = itertools.chain(probe, iterator)
    kind = _format_of(path, probe, columns, config)
    if config.line_pattern:
        return _match(lines, path, re.compile(config.line_pattern), bad)
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
    """Returns the suffix of a file, in lower case and without `.gz`."""
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
    """Whether each line that is not blank holds a tab."""
    filled = [line for line in probe if line.strip()]
    return bool(filled) and all("\t" in line.strip("\r\n") for line in filled)


def _has_objects(probe: list[str]) -> bool:
    """Whether each line that is not blank is a JSON object."""
    filled = [line for line in probe if line.strip()]
    try:
        return bool(filled) and all(
            isinstance(json.loads(line), dict) for line in filled
        )
    except ValueError:
        return False


def _names_columns(probe: list[str], columns: tuple[str, ...]) -> bool:
    """Whether the first line is a header with the columns asked for."""
    first = probe[0] if probe else ""
    names = [name.strip(' "\r\n') for name in re.split("[,;]", first)]
    return len(names) > 1 and bool(columns) and set(columns) <= set(names)


def _text_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yields lines that are not blank, with their numbers from 1."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line.rstrip("\r\n")


@dataclasses.dataclass(frozen=True)
class _Dialect:
    """How the lines of a table are cut."""

    separator: str
    quotes: bool
    has_header: bool | None


def _dialect(kind: str, probe: list[str], config: TableConfig) -> _Dialect:
    """Returns what was asked for, and finds out the rest."""
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
    """Yields rows of fields between delimiters."""
    has_header = dialect.has_header
    if has_header is None:
        has_header = not all(column.isdecimal() for column in columns)
    names: list[str] | None = None
    for number, fields in _cut(lines, path, dialect, bad):
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
            f"{twice[0]!r} twice in {path}, line {number}. Rename one, or "
            "give the columns by number with --has_header=false."
        )
    for column in columns:
        if column in names or _names_column(column, names):
            continue
        raise ValueError(
            "The columns of a table must be those that the flags name. "
            f"Received: {path}, line {number}: {no_column(column, names)}. "
            "Change the flag; a table without a header takes numbers, "
            "counted from 0."
        )
    return names


def _cut(
    lines: Iterable[str], path: str, dialect: _Dialect, bad: BadRecords
) -> Iterator[tuple[int, list[str]]]:
    """Yields the fields of rows that are not blank, and where they begin."""
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
            # A stray quote: what it swallowed is read again.
            bad.add(f"{path}, line {number}", path, error)
            rest.push_back(rest.taken[1:])
            number += 1
            continue
        if any(field.strip() for field in fields):
            yield number, fields
        number += len(rest.taken)


class _PushedBack:
    """Lines that can be put back.

    Attributes:
        taken: Those that the last iterator of `noted` gave.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        """See the class."""
        self._lines = iter(lines)
        self._pushed: deque[str] = deque()
        self.taken: list[str] = []

    def noted(self) -> Iterator[str]:
        """Yields the lines that come, and notes them in a new `taken`."""
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
        """Puts lines before all others."""
        self._pushed.extendleft(reversed(lines))


def _parse_json(
    lines: Iterable[str], path: str, bad: BadRecords
) -> Iterator[Row]:
    """Yields JSON objects, one per line."""
    for number, line in _text_lines(lines):
        try:
            fields = json.loads(line)
        except ValueError as error:
            bad.add(f"{path}, line {number}", path, f"not JSON: {error}")
            continue
        if isinstance(fields, dict):
            yield Row(path, number, fields)
        else:
            bad.add(f"{path}, line {number}", path, "not a JSON object")


def _match(
    lines: Iterable[str], path: str, pattern: re.Pattern[str], bad: BadRecords
) -> Iterator[Row]:
    """Yields the named groups of lines."""
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
