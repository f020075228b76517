"""Figures of labels, numbers and choices for whole texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation import metrics
from tfllm.evaluation.calibration import Calibration, calibration
from tfllm.evaluation.charts import (
    write_confusion_matrix,
    write_decisions,
    write_reliability_diagram,
)
from tfllm.evaluation.figures import SCORES, Figures, averages
from tfllm.evaluation.label_counts import (
    AreasUnderCurve,
    named,
    scores_of_counts,
    single_label_figures,
)
from tfllm.evaluation.metrics import Values
from tfllm.evaluation.predictions import Predictions
from tfllm.evaluation.probabilities import sigmoid, softmax


class LabelFigures(Figures):
    """Of one label among several; see Figures."""

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        """See Figures."""
        self._labels = found.task.labels
        ids = {name: i for i, name in enumerate(self._labels)}
        self._gold = np.array([ids[record.gold] for record in found.records])
        self._probabilities = softmax(np.stack(found.outputs))
        self._predicted = self._probabilities.argmax(axis=1)
        self._all = np.arange(len(self._gold))
        self._calibration = calibration(
            self._probabilities.max(axis=1), self._predicted == self._gold
        )
        # Of two labels it is the area of the second.
        own = [1] if len(self._labels) == 2 else range(len(self._labels))
        self._areas = AreasUnderCurve(
            self._gold[:, None] == np.array(own), self._probabilities[:, own]
        )

    @staticmethod
    def names(task: Any, records: Sequence[Record]) -> tuple[str, ...]:
        """See Figures."""
        return (
            "accuracy",
            "matthews",
            "auc",
            "calibration_error",
            *averages("macro", "micro", "weighted"),
            *(SCORES if len(task.labels) == 2 else ()),
        )

    def values(self) -> Values:
        """See Figures."""
        return {
            **metrics.classification_metrics(self._gold, self._probabilities),
            "calibration_error": self._calibration.expected_error,
        }

    def sample(self, rows: np.ndarray) -> Values:
        """See Figures."""
        return {
            **single_label_figures(self._confusion(rows)),
            "auc": self._areas.mean(rows),
        }

    def details(self) -> dict[str, Any]:
        """See Figures."""
        return {
            "labels": metrics.per_label(
                self._gold, self._predicted, self._labels
            ),
            "confusion": self._confusion(self._all).tolist(),
        }

    def draw(self, prefix: str) -> list[str]:
        """See Figures."""
        paths = [f"{prefix}confusion.png", f"{prefix}calibration.png"]
        counts = self._confusion(self._all)
        write_confusion_matrix(paths[0], counts, self._labels)
        write_reliability_diagram(paths[1], self._calibration)
        return paths

    def _confusion(self, rows: np.ndarray) -> np.ndarray:
        """Returns counts, int [L, L], right label x predicted label."""
        return metrics.confusion(
            self._gold[rows], self._predicted[rows], len(self._labels)
        )


class SeveralLabelFigures(Figures):
    """Of labels that do not exclude each other; see Figures."""

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        """See Figures."""
        self._labels = found.task.labels
        self._gold = np.array(
            [
                [name in record.gold for name in self._labels]
                for record in found.records
            ]
        )
        self._probabilities = sigmoid(np.stack(found.outputs))
        self._given = self._probabilities >= 0.5
        self._areas = AreasUnderCurve(self._gold, self._probabilities)

    @staticmethod
    def names(task: Any, records: Sequence[Record]) -> tuple[str, ...]:
        """See Figures."""
        return (
            "subset_accuracy",
            "accuracy",
            "auc",
            "calibration_error",
            *averages("macro", "micro", "samples"),
        )

    def values(self) -> Values:
        """See Figures."""
        return {
            **metrics.multi_label_metrics(self._gold, self._probabilities),
            "calibration_error": self._calibration().expected_error,
        }

    def sample(self, rows: np.ndarray) -> Values:
        """See Figures."""
        gold, given = self._gold[rows], self._given[rows]
        each = gold & given, given, gold
        by_label = [counts.sum(axis=0) for counts in each]
        by_record = [counts.sum(axis=1) for counts in each]
        return {
            **named(scores_of_counts(*(n.sum() for n in by_label)), "micro_"),
            **named(scores_of_counts(*by_label).mean(axis=1), "macro_"),
            **named(scores_of_counts(*by_record).mean(axis=1), "samples_"),
            "subset_accuracy": float((gold == given).all(axis=1).mean()),
            "accuracy": float((gold == given).mean()),
            "auc": self._areas.mean(rows),
        }

    def details(self) -> dict[str, Any]:
        """See Figures."""
        decisions = self._decisions().tolist()
        return {
            "labels": metrics.per_label(self._gold, self._given, self._labels),
            "decisions": dict(zip(self._labels, decisions, strict=True)),
        }

    def draw(self, prefix: str) -> list[str]:
        """See Figures."""
        paths = [f"{prefix}decisions.png", f"{prefix}calibration.png"]
        write_decisions(paths[0], self._decisions(), self._labels)
        write_reliability_diagram(paths[1], self._calibration())
        return paths

    def _decisions(self) -> np.ndarray:
        """Returns counts, int [L, 2, 2]: label is right x label was given."""
        columns = zip(self._gold.T, self._given.T, strict=True)
        return np.stack(
            [metrics.confusion(gold, given, 2) for gold, given in columns]
        )

    def _calibration(self) -> Calibration:
        """Returns that of the decisions on all labels."""
        confidence = np.where(
            self._given, self._probabilities, 1.0 - self._probabilities
        )
        right = self._given == self._gold
        return calibration(confidence.ravel(), right.ravel())


class NumberFigures(Figures):
    """Of numbers; see Figures."""

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        """See Figures."""
        self._gold = np.array([record.gold for record in found.records])
        self._predicted = np.array(found.outputs)

    @staticmethod
    def names(task: Any, records: Sequence[Record]) -> tuple[str, ...]:
        """See Figures."""
        return metrics.REGRESSION

    def values(self) -> Values:
        """See Figures."""
        return metrics.regression_metrics(self._gold, self._predicted)

    def sample(self, rows: np.ndarray) -> Values:
        """See Figures."""
        return metrics.regression_metrics(
            self._gold[rows], self._predicted[rows]
        )


class ChoiceFigures(Figures):
    """Of one choice among several; see Figures."""

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        """See Figures."""
        gold = np.array([record.gold for record in found.records])
        probabilities = softmax(np.stack(found.outputs))
        self._right = probabilities.argmax(axis=1) == gold
        self._calibration = calibration(probabilities.max(axis=1), self._right)

    @staticmethod
    def names(task: Any, records: Sequence[Record]) -> tuple[str, ...]:
        """See Figures."""
        return ("accuracy", "calibration_error")

    def values(self) -> Values:
        """See Figures."""
        return {
            "accuracy": float(self._right.mean()),
            "calibration_error": self._calibration.expected_error,
        }

    def sample(self, rows: np.ndarray) -> Values:
        """See Figures."""
        return {"accuracy": float(self._right[rows].mean())}

    def draw(self, prefix: str) -> list[str]:
        """See Figures."""
        path = f"{prefix}calibration.png"
        write_reliability_diagram(path, self._calibration)
        return [path]
