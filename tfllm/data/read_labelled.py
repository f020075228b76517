"""Labelled files to records, by task."""

from collections.abc import Iterator

from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled_config import LabelledDataConfig
from tfllm.data.records import Record, columns_of, records_of_rows
from tfllm.data.tables import read_rows
from tfllm.data.tagging_records import read_tagging_records


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
    if config.task == "tagging":
        return read_tagging_records(files, config, bad, flag)
    rows = read_rows(files, columns_of(config), config.table, bad, flag)
    return records_of_rows(rows, config, bad)
