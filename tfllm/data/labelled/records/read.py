"""Labelled files to records, by task."""

from collections.abc import Callable, Iterator

from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.choices import read_choice_records
from tfllm.data.labelled.records.questions import read_question_records
from tfllm.data.labelled.records.record import (
    Record,
    columns_of,
    records_of_rows,
)
from tfllm.data.labelled.records.tagging import read_tagging_records
from tfllm.data.tables.rows import read_rows

# Tasks whose records are more than texts and a label.
READERS: dict[
    str, Callable[[str, LabelledDataConfig, BadRecords, str], Iterator[Record]]
] = {
    "tagging": read_tagging_records,
    "question_answering": read_question_records,
    "multiple_choice": read_choice_records,
}


def read_records(
    files: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Record]:
    """Yields the records of files, in order.

    Args:
        files: Paths and globs, comma-separated, or `tfds:NAME/SPLIT`.
        config: The task, and where things stand.
        bad: Takes the records that cannot be used.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: The files cannot be used.
    """
    if config.task in READERS:
        return READERS[config.task](files, config, bad, flag)
    rows = read_rows(files, columns_of(config), config.table, bad, flag)
    return records_of_rows(rows, config, bad)
