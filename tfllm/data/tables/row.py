"""Rows of tables, with their place in a file."""

import difflib
from collections.abc import Iterable, Sized
from typing import Any, NamedTuple

from tfllm.data.bad_records import BadRecord

TFDS_PREFIX = "tfds:"
_SHOWN = 40  # characters of a column's name


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        path: The file, or `tfds:NAME/SPLIT`.
        line: First line of the row, from 1; for tfds, number of the example.
        fields: Values by column. Columns without a name are "0", "1", ...
        numbered: Whether columns have an order, so that numbers name them.
    """

    path: str
    line: int
    fields: dict[str, Any]
    numbered: bool = False

    @property
    def where(self) -> str:
        """File and line of the row, for messages."""
        kind = "example" if self.path.startswith(TFDS_PREFIX) else "line"
        return f"{self.path}, {kind} {self.line}"

    def get(self, column: str) -> Any:
        """Returns the value of a column, by its name or number.

        Raises:
            BadRecord: The column does not exist.
        """
        if column in self.fields:
            return self.fields[column]
        if names_column(column, self.fields) and self.numbered:
            return list(self.fields.values())[int(column)]
        raise BadRecord(no_column(column, self.fields))

    def lacks(self, column: str) -> bool:
        """Returns whether this row, unlike others, lacks a column."""
        return not self.numbered and column not in self.fields


def no_column(column: str, columns: Iterable[str]) -> str:
    """Returns the error message for a missing column."""
    names = list(columns)
    near = difflib.get_close_matches(column, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    shown = (
        name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..." for name in names
    )
    return f"no column {column!r} among {', '.join(map(repr, shown))}{hint}"


def names_column(column: str, columns: Sized) -> bool:
    """Returns whether a text is the number of a column."""
    return column.isdecimal() and int(column) < len(columns)


def is_tfds(files: str) -> bool:
    """Returns whether a flag names a data set of TensorFlow Datasets."""
    return files.startswith(TFDS_PREFIX)
