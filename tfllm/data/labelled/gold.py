"""Gold labels of records: their names, ids and weights."""

from collections.abc import Sequence

import numpy as np

from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled import labels as label_values
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record

_NAMED = ("classification", "multi_label", "tagging")


def names_in(record: Record, task: str) -> tuple[str, ...]:
    """Returns the label names that a record holds."""
    if task not in _NAMED or record.gold is None:
        return ()
    return (record.gold,) if task == "classification" else record.gold


def find_labels(records: Sequence[Record], task: str) -> tuple[str, ...]:
    """Returns the label names that records hold, sorted."""
    return label_values.sort_names(
        name for record in records for name in names_in(record, task)
    )


def check_labels(
    records: Sequence[Record], labels: Labels, task: str, bad: BadRecords
) -> list[Record]:
    """Returns the records whose labels are known.

    Raises:
        ValueError: One is not, and bad records are not to be skipped.
    """
    kept = []
    for record in records:
        try:
            for name in names_in(record, task):
                labels.id_of(name)
        except BadRecord as error:
            path = record.where.rpartition(", ")[0]
            bad.add(record.where, path, error)
            continue
        kept.append(record)
    return kept


def has_gold(records: Sequence[Record]) -> bool:
    """Whether records have gold labels: all of them, or none.

    Raises:
        ValueError: Some have.
    """
    known = sum(record.gold is not None for record in records)
    if 0 < known < len(records):
        raise ValueError(
            "`records` must all have a gold label, or none. Received: "
            f"{known} of {len(records)} with one."
        )
    return known > 0


def label_ids(
    records: Sequence[Record], config: LabelledDataConfig, labels: Labels
) -> dict[str, np.ndarray]:
    """Returns what `y` holds per record, [records, ...]; empty without gold.

    For classification, multi_label and regression.
    """
    if not has_gold(records):
        return {}
    if config.task == "classification":
        ids = [labels.id_of(record.gold) for record in records]
        return {config.task: np.array(ids, np.int32)}
    if config.task == "regression":
        values = [record.gold for record in records]
        return {config.task: np.array(values, np.float32)}
    table = np.zeros((len(records), len(labels.names)), np.float32)
    for row, record in zip(table, records, strict=True):
        row[[labels.id_of(name) for name in record.gold]] = 1.0
    return {config.task: table}


def label_weights(
    ids: dict[str, np.ndarray], config: LabelledDataConfig, labels: Labels
) -> np.ndarray | float:
    """Returns the weight of each record by its label."""
    if not config.class_weights or not ids:
        return 1.0
    own = ids[config.task]
    counts = np.bincount(own, minlength=len(labels.names))
    return label_values.class_weights(config.class_weights, labels, counts)[own]
