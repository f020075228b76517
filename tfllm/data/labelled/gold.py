"""Gold labels of records: names, ids and weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled import labels as label_values
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.kinds import LABELLED_KINDS
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record


def class_gold(value: Any, config: LabelledDataConfig) -> str:
    """Returns the label name for the value of a column."""
    return label_values.class_name(value, config.labels)


def names_gold(value: Any, config: LabelledDataConfig) -> tuple[str, ...]:
    """Returns the label names for the value of a column."""
    return label_values.label_names(
        value, config.label_separator, config.labels
    )


def number_gold(value: Any, config: LabelledDataConfig) -> float:
    """Returns the number for the value of a column."""
    return label_values.label_number(value)


def class_ids(gold: Sequence[str], labels: Labels) -> np.ndarray:
    """Returns the ids of labels, int32 [N]."""
    return np.array([labels.id_of(name) for name in gold], np.int32)


def numbers(gold: Sequence[float], labels: Labels) -> np.ndarray:
    """Returns gold numbers as an array, float32 [N]."""
    return np.array(gold, np.float32)


def label_table(gold: Sequence[tuple[str, ...]], labels: Labels) -> np.ndarray:
    """Returns multi-hot labels, float32 [N, L]."""
    table = np.zeros((len(gold), len(labels.names)), np.float32)
    for row, names in zip(table, gold, strict=True):
        row[[labels.id_of(name) for name in names]] = 1.0
    return table


def find_labels(records: Sequence[Record], task: str) -> tuple[str, ...]:
    """Returns the label names of records, sorted.

    Raises:
        ValueError: All names are 0 or 1, which may be label vectors.
    """
    names = label_values.sort_names(
        name
        for record in records
        for name in LABELLED_KINDS[task].names_in(record.gold)
    )
    is_several = LABELLED_KINDS[task].label_form == "several"
    if is_several and names and {"0", "1"}.issuperset(names):
        first = next(record for record in records if record.gold)
        raise ValueError(
            f"The labels of {task} must have names. Received: nothing but "
            f"0 and 1, as in {first.where}. If they are vectors, name their "
            "labels in order with --labels=...; if each label has a column, "
            "list those in --label_column; if 0 and 1 are names, give "
            "--labels=0,1."
        )
    return names


def check_labels(
    records: Sequence[Record], labels: Labels, task: str, bad: BadRecords
) -> list[Record]:
    """Returns the records whose labels are all known.

    Raises:
        ValueError: A label is unknown, and bad records may not be skipped.
    """
    kept = []
    for record in records:
        try:
            for name in LABELLED_KINDS[task].names_in(record.gold):
                labels.id_of(name)
        except BadRecord as error:
            path = record.where.rpartition(", ")[0]
            bad.add(record.where, path, error)
            continue
        kept.append(record)
    return kept


def has_gold(records: Sequence[Record]) -> bool:
    """Returns whether records have gold labels.

    Raises:
        ValueError: Some records have one and some do not.
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
    """Encodes labels as `y`, [records, ...]; empty without gold.

    Only for kinds of tasks with an `encode` function.
    """
    if not has_gold(records):
        return {}
    assert config.kind.encode is not None, config.task
    gold = [record.gold for record in records]
    return {config.task: config.kind.encode(gold, labels)}


def label_weights(
    ids: dict[str, np.ndarray], config: LabelledDataConfig, labels: Labels
) -> np.ndarray | float:
    """Returns the weight of each record's class, float32 [records] or 1.0."""
    if not config.class_weights or not ids:
        return 1.0
    label_of_record = ids[config.task]
    counts = np.bincount(label_of_record, minlength=len(labels.names))
    weights = label_values.class_weights(config.class_weights, labels, counts)
    return weights[label_of_record]
