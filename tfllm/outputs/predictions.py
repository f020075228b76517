"""Predictions of a task on records."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfllm.data.labelled.records.record import Record
from tfllm.tasks import Task


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of a task on records.

    Attributes:
        task: The task.
        records: The records, in order.
        outputs: An output per record, over all its windows: float64 logits
            [L] (classification, multi_label) or [C] (multiple_choice, padded
            to the most choices of a record), a number (regression), vectors
            [texts, D] (embedding), logits [words, L] (tagging), or Answers
            (question_answering).
        means: Mean losses and measures of the task; empty without gold
            labels.
    """

    task: Task
    records: Sequence[Record]
    outputs: Sequence[Any]
    means: dict[str, float] = dataclasses.field(default_factory=dict)
