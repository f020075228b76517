"""Records: what an example says, before any tokenizer.

The reader of each task turns files into records; the same records serve
training, evaluation and prediction, which put their results beside them.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled import labels as label_values
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.tables.rows import Row

Gold = Any


@dataclasses.dataclass(frozen=True)
class Record:
    """One example as it was given.

    Attributes:
        id: Its id in the file, else its number from 0.
        where: The file and line.
        texts: classification, multi_label, regression, embedding: one text or
            a pair. tagging: one. question_answering: question and context.
            multiple_choice: what comes before, then the choices.
        gold: classification: a name. multi_label: names. regression: a
            float. embedding: a float, or None. tagging: a tag per word.
            question_answering: `GoldAnswer`s, empty if there is none.
            multiple_choice: number of the right choice. None if not known.
        words: tagging: where each word begins and ends in the text, in
            characters.
        predicate: tagging: number of the word that the tags are about.
        choices: multiple_choice: the choices as they were given, which in
            `texts` may follow a second text; empty: those in `texts`.
    """

    id: str
    where: str
    texts: tuple[str, ...]
    gold: Gold = None
    words: tuple[tuple[int, int], ...] = ()
    predicate: int | None = None
    choices: tuple[str, ...] = ()


def columns_of(config: LabelledDataConfig) -> tuple[str, ...]:
    """Returns the columns that are read."""
    named = (
        config.text_column,
        config.text_pair_column,
        config.label_column,
        config.id_column,
        config.predicate_column,
        *(config.choice_columns if config.task == "multiple_choice" else ()),
    )
    return tuple(filter(None, named))


def records_of_rows(
    rows: Iterator[Row], config: LabelledDataConfig, bad: BadRecords
) -> Iterator[Record]:
    """Yields the records of rows of texts and a label.

    Args:
        rows: The rows.
        config: The task, and where things stand.
        bad: Takes the rows that cannot be used.
    """
    number = 0
    for row in rows:
        try:
            record = _record(row, number, config)
        except BadRecord as error:
            bad.add(row.where, row.path, error)
            continue
        yield record
        number += 1


def _record(row: Row, number: int, config: LabelledDataConfig) -> Record:
    texts = tuple(
        read_text(row, column)
        for column in (config.text_column, config.text_pair_column)
        if column
    )
    gold = None
    if config.label_column:
        gold = _GOLD[config.task](row.get(config.label_column), config)
    return Record(read_id(row, number, config), row.where, texts, gold)


def read_id(row: Row, number: int, config: LabelledDataConfig) -> str:
    """Returns the id of a row, or its number."""
    return str(row.get(config.id_column) if config.id_column else number)


def read_text(row: Row, column: str) -> str:
    """Returns a text; BadRecord if there is none."""
    text = row.get(column)
    if not isinstance(text, str):
        raise BadRecord(f"column {column!r} must be text, not {text!r}")
    if not text.strip():
        raise BadRecord(f"column {column!r} is blank")
    return text


_GOLD: dict[str, Callable[[Any, LabelledDataConfig], Gold]] = {
    "classification": lambda value, _: label_values.label_name(value),
    "multi_label": lambda value, config: label_values.label_names(
        value, config.label_separator
    ),
    "regression": lambda value, _: label_values.label_number(value),
    "embedding": lambda value, _: label_values.label_number(value),
}
