"""What is measured for a kind of task, in one form.

All figures are fractions from 0 to 1, but for correlations and errors; names
that end in "error" are better small.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation.metrics import Values
from tfllm.evaluation.predictions import Predictions

SCORES = ("precision", "recall", "f1")


class Figures:
    """Figures of predictions whose records have gold labels.

    Args:
        found: The predictions.
        tune: Whether they set a threshold of the task, if it has one.
    """

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        """See the class."""
        raise NotImplementedError

    @staticmethod
    def names(task: Any, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns the names that `values` has for a task and records."""
        raise NotImplementedError

    def values(self) -> Values:
        """Returns the figures of all records."""
        raise NotImplementedError

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the main ones of the records of these numbers, int [N]."""
        raise NotImplementedError

    def details(self) -> dict[str, Any]:
        """Returns tables for the JSON, by name."""
        return {}

    def draw(self, prefix: str) -> list[str]:
        """Writes charts to PREFIX*.png; returns their paths."""
        return []


def averages(*kinds: str) -> tuple[str, ...]:
    """Returns the names of means of SCORES."""
    return tuple(f"{kind}_{score}" for kind in kinds for score in SCORES)
