"""Figures of labels, numbers and choices predicted for whole texts."""

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
from tfllm.outputs.predictions import Predictions
from tfllm.outputs.probabilities import sigmoid, softmax
from tfllm.tasks import Task


class LabelFigures(Figures):
    """Metrics of single-label classification."""

    main = ("accuracy", "macro_f1", "matthews", "auc", "calibration_error")

    def __init__(self, predictions: Predictions, tune: bool = False) -> None:
        self._labels = predictions.task.labels
        ids = {name: i for i, name in enumerate(self._labels)}
        self._gold = np.array([ids[r.gold] for r in predictions.records])  # [N]
        self._probabilities = softmax(np.stack(predictions.outputs))  # [N, L]
        self._predicted = self._probabilities.argmax(axis=1)
        self._all = np.arange(len(self._gold))
        self._calibration = calibration(
            self._probabilities.max(axis=1), self._predicted == self._gold
        )
        # Of two labels, only the second has an area.
        measured = [1] if len(self._labels) == 2 else range(len(self._labels))
        self._areas = AreasUnderCurve(
            self._gold[:, None] == np.array(measured),
            self._probabilities[:, measured],
        )

    @staticmethod
    def names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns the names of the figures."""
        return (
            "accuracy",
            "matthews",
            "auc",
            "calibration_error",
            *averages("macro", "micro", "weighted"),
            *(SCORES if len(task.labels) == 2 else ()),
        )

    def values(self) -> Values:
        """Returns the figures of all records."""
        return {
            **metrics.classification_metrics(self._gold, self._probabilities),
            "calibration_error": self._calibration.expected_error,
        }

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the main figures of some records, int [M]."""
        return {
            **single_label_figures(self._confusion(rows)),
            "auc": self._areas.mean(rows),
        }

    def details(self) -> dict[str, Any]:
        """Returns the figures of each label, and a confusion matrix."""
        return {
            "labels": metrics.per_label(
                self._gold, self._predicted, self._labels
            ),
            "confusion": self._confusion(self._all).tolist(),
        }

    def draw(self, prefix: str) -> list[str]:
        """Writes PREFIX*.png and returns the paths."""
        paths = [f"{prefix}confusion.png", f"{prefix}calibration.png"]
        counts = self._confusion(self._all)
        write_confusion_matrix(paths[0], counts, self._labels)
        write_reliability_diagram(paths[1], self._calibration)
        return paths

    def _confusion(self, rows: np.ndarray) -> np.ndarray:
        """Returns counts of records, int [L, L], gold x predicted label."""
        return metrics.confusion(
            self._gold[rows], self._predicted[rows], len(self._labels)
        )


class SeveralLabelFigures(Figures):
    """Metrics of multi-label classification."""

    main = ("micro_f1", "macro_f1", "samples_f1", "subset_accuracy", "auc")

    def __init__(self, predictions: Predictions, tune: bool = False) -> None:
        self._labels = predictions.task.labels
        self._gold = np.array(
            [
                [name in record.gold for name in self._labels]
                for record in predictions.records
            ]
        )  # [N, L]
        self._probabilities = sigmoid(np.stack(predictions.outputs))  # [N, L]
        self._predicted = self._probabilities >= 0.5
        self._areas = AreasUnderCurve(self._gold, self._probabilities)

    @staticmethod
    def names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns the names of the figures."""
        return (
            "subset_accuracy",
            "accuracy",
            "auc",
            "calibration_error",
            *averages("macro", "micro", "samples"),
        )

    def values(self) -> Values:
        """Returns the figures of all records."""
        return {
            **metrics.multi_label_metrics(self._gold, self._probabilities),
            "calibration_error": self._calibration().expected_error,
        }

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the main figures of some records, int [M]."""
        gold, predicted = self._gold[rows], self._predicted[rows]  # [M, L]
        counted = gold & predicted, predicted, gold
        by_label = [decisions.sum(axis=0) for decisions in counted]
        by_record = [decisions.sum(axis=1) for decisions in counted]
        return {
            **named(scores_of_counts(*(n.sum() for n in by_label)), "micro_"),
            **named(scores_of_counts(*by_label).mean(axis=1), "macro_"),
            **named(scores_of_counts(*by_record).mean(axis=1), "samples_"),
            "subset_accuracy": float((gold == predicted).all(axis=1).mean()),
            "accuracy": float((gold == predicted).mean()),
            "auc": self._areas.mean(rows),
        }

    def details(self) -> dict[str, Any]:
        """Returns the figures of each label, and counts of its decisions."""
        decisions = self._decisions().tolist()
        return {
            "labels": metrics.per_label(
                self._gold, self._predicted, self._labels
            ),
            "decisions": dict(zip(self._labels, decisions, strict=True)),
        }

    def draw(self, prefix: str) -> list[str]:
        """Writes PREFIX*.png and returns the paths."""
        paths = [f"{prefix}decisions.png", f"{prefix}calibration.png"]
        write_decisions(paths[0], self._decisions(), self._labels)
        write_reliability_diagram(paths[1], self._calibration())
        return paths

    def _decisions(self) -> np.ndarray:
        """Returns a 2 x 2 confusion matrix for each label, int [L, 2, 2]."""
        columns = zip(self._gold.T, self._predicted.T, strict=True)
        return np.stack(
            [
                metrics.confusion(gold, predicted, 2)
                for gold, predicted in columns
            ]
        )

    def _calibration(self) -> Calibration:
        """Returns the calibration of the decisions on all labels."""
        confidence = np.where(
            self._predicted, self._probabilities, 1.0 - self._probabilities
        )
        right = self._predicted == self._gold
        return calibration(confidence.ravel(), right.ravel())


class NumberFigures(Figures):
    """Metrics of regression."""

    main = ("pearson", "spearman", "mean_squared_error", "mean_absolute_error")

    def __init__(self, predictions: Predictions, tune: bool = False) -> None:
        self._gold = np.array([record.gold for record in predictions.records])
        self._predicted = np.array(predictions.outputs)

    @staticmethod
    def names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns the names of the figures."""
        return metrics.REGRESSION

    def values(self) -> Values:
        """Returns the figures of all records."""
        return metrics.regression_metrics(self._gold, self._predicted)

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the main figures of some records, int [M]."""
        return metrics.regression_metrics(
            self._gold[rows], self._predicted[rows]
        )


class ChoiceFigures(Figures):
    """Metrics of multiple choice."""

    main = ("accuracy", "calibration_error")

    def __init__(self, predictions: Predictions, tune: bool = False) -> None:
        gold = np.array([record.gold for record in predictions.records])
        probabilities = softmax(np.stack(predictions.outputs))  # [N, C]
        self._right = probabilities.argmax(axis=1) == gold
        self._calibration = calibration(probabilities.max(axis=1), self._right)

    @staticmethod
    def names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns the names of the figures."""
        return ("accuracy", "calibration_error")

    def values(self) -> Values:
        """Returns the figures of all records."""
        return {
            "accuracy": float(self._right.mean()),
            "calibration_error": self._calibration.expected_error,
        }

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the main figures of some records, int [M]."""
        return {"accuracy": float(self._right[rows].mean())}

    def draw(self, prefix: str) -> list[str]:
        """Writes PREFIX*.png and returns the paths."""
        path = f"{prefix}calibration.png"
        write_reliability_diagram(path, self._calibration)
        return [path]
