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
            texts = [read_text(row, config.text_column), *choices]
            if config.text_pair_column:
                before = read_text(row, config.text_pair_column)
                texts[1:] = [f"{before} {choice}" for choice in choices]
            id = read_id(row, number, config)
        except BadRecord as error:
            bad.add(row.where, row.path, error)
            continue
        yield Record(id, row.where, (*texts,), gold, choices=(*choices,))
        number += 1


def _choices(row: Row, config: LabelledDataConfig) -> list[str]:
    """Returns the choices; those that are blank at the end are none."""
    columns = config.choice_columns
    listed = row.get(columns[0]) if len(columns) == 1 else None
    if isinstance(listed, list):
        choices = listed
    else:
        # A JSON object may lack what a table leaves blank.
        choices = [
            row.get(column) if i < 2 or not row.lacks(column) else None
            for i, column in enumerate(columns)
        ]
    count = len(choices)
    while count > 2 and _is_blank(choices[count - 1]):
        count -= 1
    for number, choice in enumerate(choices[:count]):
        if not isinstance(choice, str) or not choice.strip():
            raise BadRecord(f"choice {number} is no text: {choice!r}")
    if count < 2:
        raise BadRecord(f"the choices must be two texts or more: {choices!r}")
    return choices[:count]


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
