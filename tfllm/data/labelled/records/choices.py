"""Records of multiple choice: what comes before, and the choices."""

from collections.abc import Iterator
from typing import Any

from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.labels import label_name
from tfllm.data.labelled.records.record import (
    Record,
    columns_of,
    read_id,
    read_text,
)
from tfllm.data.tables.rows import Row, read_rows


def read_choice_records(
    files: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Record]:
    """Yields the records of files; see `read.read_records`."""
    number = 0
    rows = read_rows(files, columns_of(config), config.table, bad, flag)
    for row in rows:
        try:
            choices = _choices(row, config)
            gold = None
            if config.label_column:
                gold = _number(row.get(config.label_column), len(choices))
            texts = (read_text(row, config.text_column), *choices)
            id = read_id(row, number, config)
        except BadRecord as error:
            bad.add(row.where, row.path, error)
            continue
        yield Record(id, row.where, texts, gold)
        number += 1


def _choices(row: Row, config: LabelledDataConfig) -> list[str]:
    """Returns the choices, each behind the second text if there is one.

    Columns at the end that are blank are no choices.
    """
    columns = config.choice_columns
    value = row.get(columns[0]) if len(columns) == 1 else None
    if isinstance(value, list):
        choices = value
    else:
        while len(columns) > 2 and _is_blank(row.get(columns[-1])):
            columns = columns[:-1]
        choices = [read_text(row, column) for column in columns]
    if len(choices) < 2 or not all(
        isinstance(choice, str) and choice.strip() for choice in choices
    ):
        raise BadRecord(f"the choices must be two texts or more: {choices!r}")
    if not config.text_pair_column:
        return choices
    before = read_text(row, config.text_pair_column)
    return [f"{before} {choice}" for choice in choices]


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _number(value: Any, count: int) -> int:
    """Returns the number of the right choice: 0, 1, ... or A, B, ..."""
    name = label_name(value)
    number = int(name) if name.isdecimal() else -1
    if len(name) == 1 and name.isascii() and name.isalpha():
        number = ord(name.upper()) - ord("A")
    if not 0 <= number < count:
        raise BadRecord(
            f"the label must be the number of a choice, from 0 to "
            f"{count - 1}, or its letter, not {value!r}"
        )
    return number
