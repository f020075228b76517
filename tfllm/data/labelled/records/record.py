"""Records: examples as texts and gold labels, not yet tokenized.

The reader of each task turns files into records. Training, evaluation and
prediction use the same records.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.label_vectors import bit, names_of
from tfllm.data.tables.row import Row
from tfllm.data.tables.rows import read_rows
from tfllm.tokenizers.text_input import utf8

Gold = Any


@dataclasses.dataclass(frozen=True)
class Record:
    """One example, as in its file.

    Attributes:
        id: Id in the file, else its number from 0.
        where: File and line, for messages.
        texts: classification, multi_label, regression, embedding: one text or
            a pair. tagging: one text. question_answering: question and
            context. multiple_choice: the text before the choices, then the
            choices.
        gold: classification: a name. multi_label: names. regression: a
            float. embedding: a float, or None. tagging: a tag per word.
            question_answering: `GoldAnswer`s, empty without an answer.
            multiple_choice: number of the right choice. None if unknown.
        words: tagging: (start, end) characters of each word in the text.
        predicate: tagging: number of the word that the tags are about.
        choices: multiple_choice: the choices as in the file; those in `texts`
            may have a second text in front. Empty: as in `texts`.
    """

    id: str
    where: str
    texts: tuple[str, ...]
    gold: Gold = None
    words: tuple[tuple[int, int], ...] = ()
    predicate: int | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for text that UTF-8 cannot encode."""
        for text in (*self.texts, *self.choices):
            utf8(text, self.where)


def columns_of(config: LabelledDataConfig) -> tuple[str, ...]:
    """Returns the names or numbers of the columns to read."""
    common = (
        config.text_column,
        config.text_pair_column,
        *config.label_columns,
        config.id_column,
    )
    of_kind: list[str] = []
    for field in config.kind.columns:
        columns = getattr(config, field)
        of_kind += [columns] if isinstance(columns, str) else columns
    return tuple(filter(None, (*common, *of_kind)))


def read_text_records(
    files: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Record]:
    """Yields records of texts and a label; see `read.read_records`."""
    return read_table_records(files, config, bad, flag, _text_record)


def read_table_records(
    files: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    flag: str,
    to_record: Callable[[Row, int, LabelledDataConfig], Record],
) -> Iterator[Record]:
    """Yields a record for each good row of tables.

    Args:
        files: As in `read.read_records`.
        config: Task, columns and format.
        bad: Counts or refuses bad rows.
        flag: Name of the flag of `files`, for messages.
        to_record: (row, number of the record, config) -> record; raises
            BadRecord for a bad row.
    """
    number = 0
    for row in read_rows(files, columns_of(config), config.table, bad, flag):
        try:
            record = to_record(row, number, config)
        except BadRecord as error:
            bad.add(row.where, row.path, error)
            continue
        yield record
        number += 1


def _text_record(row: Row, number: int, config: LabelledDataConfig) -> Record:
    """Returns the record of one or two texts and a label."""
    texts = tuple(
        read_text(row, column)
        for column in (config.text_column, config.text_pair_column)
        if column
    )
    gold = None
    if len(config.label_columns) > 1:
        columns = config.label_columns
        bits = [bit(row.get(column), column) for column in columns]
        gold = names_of(bits, config.column_labels)
    elif config.label_column:
        assert config.kind.gold is not None, config.task
        gold = config.kind.gold(row.get(config.label_column), config)
    return Record(read_id(row, number, config), row.where, texts, gold)


def read_id(row: Row, number: int, config: LabelledDataConfig) -> str:
    """Returns the id of a row; its number without an id column."""
    return str(row.get(config.id_column) if config.id_column else number)


def read_text(row: Row, column: str) -> str:
    """Returns the text in a column; raises BadRecord if it is blank."""
    text = row.get(column)
    if not isinstance(text, str):
        raise BadRecord(f"column {column!r} must be text, not {text!r}")
    if not text.strip():
        raise BadRecord(f"column {column!r} is blank")
    return text
