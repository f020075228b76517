"""Reads labelled files as records, by the kind of task."""

from collections.abc import Iterator

from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.record import Record


def read_records(
    files: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Record]:
    """Yields the records of files, in order.

    Args:
        files: Paths and globs, comma-separated, or `tfds:NAME/SPLIT`.
        config: Task, columns and format.
        bad: Counts or refuses bad records.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: The files cannot be used.
    """
    return config.kind.read(files, config, bad, flag)
