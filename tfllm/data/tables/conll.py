"""Reads CoNLL files: a token per line, blank lines between sentences.

Columns are separated by tabs, or else by spaces and tabs. A no-break space or
U+2028 is part of its token. Comments, -DOCSTART- lines and the extra lines of
CoNLL-U (multi-word tokens, empty nodes) are skipped.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from tfllm import file_access
from tfllm.data import text_files
from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.tables.config import TableConfig

_DOCUMENT = "-DOCSTART-"
# `# text = ...` and `# newdoc`; otherwise # may be a token with its columns.
_METADATA = re.compile(r"#\s*[\w.:]+\s*=.*|#\s*(new(doc|par)|global).*")
_CONLL_U_COLUMNS = 10
_CONLL_U_EXTRA = re.compile(r"\d+[-.]\d+")
# Separators of columns. Python's `split()` would split at Unicode spaces too.
_BLANKS = " \t"
_FIELD = re.compile(f"[^{_BLANKS}]+")


@dataclasses.dataclass(frozen=True)
class Sentence:
    """One sentence of a file.

    Attributes:
        path: The file.
        lines: Line of each token, from 1.
        columns: Values of each token, for each column that was asked for.
    """

    path: str
    lines: tuple[int, ...]
    columns: tuple[tuple[str, ...], ...]

    @property
    def where(self) -> str:
        """File and line of the sentence, for messages."""
        return f"{self.path}, line {self.lines[0]}"

    def where_word(self, number: int) -> str:
        """Returns file and line of a word, for messages."""
        return f"{self.path}, line {self.lines[number]}"


def read_sentences(
    files: str,
    columns: Sequence[int],
    config: TableConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Sentence]:
    """Yields the sentences of files.

    Args:
        files: Paths and globs, comma-separated.
        columns: Numbers of the columns, from 0; negative ones count from
            the last.
        config: Delimiter and encoding.
        bad: Counts or refuses sentences with a line that lacks a column.
        flag: Name of the flag of `files`, for messages.
    """
    for path in file_access.match_files(files, flag):
        with text_files.open_decoded(path, config.encoding) as file:
            yield from parse_sentences(
                file, path, columns, config.separator, bad
            )


def parse_sentences(
    lines: Iterable[str],
    path: str,
    columns: Sequence[int],
    separator: str,
    bad: BadRecords,
) -> Iterator[Sentence]:
    """Yields the sentences of one file.

    Args:
        lines: Lines of the file.
        path: Name of the file.
        columns: Numbers of the columns.
        separator: Separator of columns. Empty: a tab if the line of the first
            token has one, else spaces and tabs.
        bad: Counts or refuses bad sentences.
    """
    numbers: list[int] = []
    rows: list[list[str]] = []
    width = 0  # columns of the first token
    for number, line in enumerate(lines, start=1):
        line = line.removesuffix("\n").removesuffix("\r")
        if not line.strip(_BLANKS):
            yield from _sentence(path, numbers, rows, columns, width, bad)
            numbers, rows = [], []
            continue
        if not width and not separator and "\t" in line:
            separator = "\t"
        fields = line.split(separator) if separator else _FIELD.findall(line)
        if _is_skipped(line, fields, width, separator):
            continue
        width = width or len(fields)
        numbers.append(number)
        rows.append(fields)
    yield from _sentence(path, numbers, rows, columns, width, bad)


def _is_skipped(
    line: str, fields: list[str], width: int, separator: str
) -> bool:
    """Returns whether a line is not a token.

    # may also be a token, with as many columns as the others.
    """
    if line.startswith("#"):
        if _METADATA.fullmatch(line):
            return True
        return (
            len(fields) != width
            if width
            else len(fields) < 2 or (not separator)
        )
    if len(fields) == _CONLL_U_COLUMNS and _CONLL_U_EXTRA.fullmatch(fields[0]):
        return True
    return line.startswith(_DOCUMENT)


def _sentence(
    path: str,
    numbers: list[int],
    rows: list[list[str]],
    columns: Sequence[int],
    width: int,
    bad: BadRecords,
) -> Iterator[Sentence]:
    """Yields the sentence of some lines, unless it is empty or bad."""
    if not rows:
        return
    for number, fields in zip(numbers, rows, strict=True):
        try:
            for column in columns:
                _check_column(fields, column, width)
        except BadRecord as error:
            bad.add(f"{path}, line {number}", path, error)
            return
    yield Sentence(
        path,
        tuple(numbers),
        tuple(
            tuple(fields[column].strip(_BLANKS) for fields in rows)
            for column in columns
        ),
    )


def _check_column(fields: list[str], column: int, width: int) -> None:
    """Raises BadRecord if a column is missing or blank.

    Args:
        fields: Fields of a line.
        column: Number of the column, from 0; negative from the end.
        width: Columns of the first token of the file. In a shorter line,
            columns cannot be counted from the end.
    """
    if not -len(fields) <= column < len(fields):
        raise BadRecord(f"no column {column} among {len(fields)}: {fields}")
    if column < 0 and len(fields) < width:
        raise BadRecord(
            f"no column {column}: {len(fields)} of {width} columns: {fields}"
        )
    if not fields[column].strip(_BLANKS):
        raise BadRecord(f"column {column} is blank: {fields}")
