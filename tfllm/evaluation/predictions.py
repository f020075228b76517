"""What a task said about records."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfllm.data.labelled.records.record import Record


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a task said about records.

    Attributes:
        task: The task.
        records: Those that were read, in order.
        outputs: One per record, all its windows joined: logits float64 [L]
            (classification, multi_label), [C] (multiple_choice: of the record
            with the most choices), a number (regression), [texts, D]
            (embedding), [words, L] (tagging), or Answers
            (question_answering).
        means: The task's own figures, `loss` and others; empty without gold
            labels.
    """

    task: Any
    records: Sequence[Record]
    outputs: Sequence[Any]
    means: dict[str, float] = dataclasses.field(default_factory=dict)
