"""Records of multiple choice: a text and its choices."""

from collections.abc import Iterator
from typing import Any

from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.labels import label_name
from tfllm.data.labelled.records.record import (
    Record,
    read_id,
    read_table_records,
    read_text,
)
from tfllm.data.tables.row import Row


def read_choice_records(
    files: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Record]:
    """Yields the records of files; see `read.read_records`."""
    return read_table_records(files, config, bad, flag, _choice_record)


def _choice_record(row: Row, number: int, config: LabelledDataConfig) -> Record:
    """Returns the record of a row."""
    choices = _choices(row, config)
    gold = None
    if config.label_column:
        gold = _choice_number(row.get(config.label_column), len(choices))
    texts = [read_text(row, config.text_column), *choices]
    if config.text_pair_column:
        before = read_text(row, config.text_pair_column)
        texts[1:] = [f"{before} {choice}" for choice in choices]
    id = read_id(row, number, config)
    return Record(id, row.where, (*texts,), gold, choices=(*choices,))


def _choices(row: Row, config: LabelledDataConfig) -> list[str]:
    """Returns the choices of a row, without blank ones at the end."""
    columns = config.choice_columns
    listed = row.get(columns[0]) if len(columns) == 1 else None
    if isinstance(listed, list):
        choices = listed
    else:
        # JSON objects may lack choices that a table leaves blank.
        choices = [
            row.get(column) if i < 2 or not row.lacks(column) else None
            for i, column in enumerate(columns)
        ]
    count = len(choices)
    while count > 2 and _is_blank(choices[count - 1]):
        count -= 1
    for number, choice in enumerate(choices[:count]):
        if not isinstance(choice, str) or not choice.strip():
            raise BadRecord(f"choice {number} is not text: {choice!r}")
    if count < 2:
        raise BadRecord(f"the choices must be two texts or more: {choices!r}")
    return choices[:count]


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _choice_number(value: Any, count: int) -> int:
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
