"""The contract of figures: what is measured for a kind of task.

Figures are fractions from 0 to 1, except for correlations and errors. Names
that end in "error" are better small.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation.metrics import Values
from tfllm.outputs.predictions import Predictions
from tfllm.tasks import Task

SCORES = ("precision", "recall", "f1")


class Figures:
    """Figures of predictions on records with gold labels.

    Args:
        predictions: The predictions.
        tune: Whether to set the threshold of the task, if it has one, to the
            best value on these predictions.

    Attributes:
        main: Names of the main figures, the most usual one first.
    """

    main: ClassVar[tuple[str, ...]]

    def __init__(self, predictions: Predictions, tune: bool = False) -> None:
        raise NotImplementedError

    @staticmethod
    def names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns the names of the figures of a task on records."""
        raise NotImplementedError

    def values(self) -> Values:
        """Returns the figures of all records."""
        raise NotImplementedError

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the main figures of some records, for the bootstrap.

        Args:
            rows: int [N], numbers of records; they may repeat.
        """
        raise NotImplementedError

    def details(self) -> dict[str, Any]:
        """Returns tables for the results file, by name."""
        return {}

    def draw(self, prefix: str) -> list[str]:
        """Writes charts to PREFIX*.png; returns their paths."""
        return []


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """The result of evaluating a task on labelled data.

    Attributes:
        values: Figures by name, with the means of the task's losses.
        figures: The object that computed them.
        num_records: Number of records.
    """

    values: dict[str, float]
    figures: Figures
    num_records: int


def averages(*kinds: str) -> tuple[str, ...]:
    """Returns the names of averaged SCORES, such as "macro_f1"."""
    return tuple(f"{kind}_{score}" for kind in kinds for score in SCORES)
