"""Figures of tags, the entities they make, and answers to questions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation import metrics, squad
from tfllm.evaluation.calibration import Calibration, calibration
from tfllm.evaluation.charts import (
    write_confusion_matrix,
    write_reliability_diagram,
)
from tfllm.evaluation.entities import (
    are_entity_tags,
    entity_counts,
    entity_metrics,
    metrics_of_counts,
    per_entity_type,
)
from tfllm.evaluation.figures import SCORES, Figures, averages
from tfllm.evaluation.metrics import Values
from tfllm.evaluation.predictions import Predictions
from tfllm.evaluation.results import ranked_answers
from tfllm.evaluation.tags import best_tags

# Kinds of questions, and what a task says of them.
_ANSWERED = ("answer", "no answer")


class TagFigures(Figures):
    """Of the tags of words, and of the entities they make; see Figures."""

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        """See Figures."""
        self._labels = found.task.labels
        self._are_entities = are_entity_tags(self._labels)
        self._gold = [list(record.gold) for record in found.records]
        best = [best_tags(output, self._labels) for output in found.outputs]
        self._predicted = [tags for tags, _ in best]
        pairs = list(zip(self._gold, self._predicted, strict=True))
        # Right words and all words of each record.
        self._right = np.array(
            [(sum(map(str.__eq__, a, b)), len(a)) for a, b in pairs]
        )
        if self._are_entities:
            self._counts = entity_counts(self._gold, self._predicted)
        self._calibration = self._calibrated([scores for _, scores in best])

    @staticmethod
    def names(task: Any, records: Sequence[Record]) -> tuple[str, ...]:
        """See Figures."""
        own = SCORES if are_entity_tags(task.labels) else ()
        return ("accuracy", "calibration_error", *own, *averages("macro"))

    def values(self) -> Values:
        """See Figures."""
        if self._are_entities:
            values = entity_metrics(self._gold, self._predicted)
        else:
            gold, predicted = self._flat()
            # Not of -1: a word without a tag is wrong, and no class.
            labels = np.union1d(gold, predicted[predicted >= 0])
            values = metrics.averages(
                gold, predicted, "macro", "macro_", labels.tolist()
            )
        return {
            **values,
            "accuracy": self._accuracy(self._right),
            "calibration_error": self._calibration.expected_error,
        }

    def sample(self, rows: np.ndarray) -> Values:
        """See Figures."""
        values = {"accuracy": self._accuracy(self._right[rows])}
        if self._are_entities:
            values |= metrics_of_counts(self._counts[rows])
        return values

    def details(self) -> dict[str, Any]:
        """See Figures."""
        confusion = {"confusion": self._confusion().tolist()}
        if self._are_entities:
            tables = per_entity_type(self._gold, self._predicted)
        else:
            tables = metrics.per_label(*self._flat(), self._labels)
        return {"labels": tables, **confusion}

    def draw(self, prefix: str) -> list[str]:
        """See Figures."""
        paths = [f"{prefix}confusion.png", f"{prefix}calibration.png"]
        write_confusion_matrix(paths[0], self._confusion(), self._labels)
        write_reliability_diagram(paths[1], self._calibration)
        return paths

    def _confusion(self) -> np.ndarray:
        """Returns counts of words, int [L, L], right tag x predicted tag."""
        gold, predicted = self._flat()
        # A word without a tag has no place in the matrix.
        tagged = predicted >= 0
        return metrics.confusion(
            gold[tagged], predicted[tagged], len(self._labels)
        )

    def _calibrated(self, scores: list[list[float]]) -> Calibration:
        """Returns that of the tags of words, given the scores of all texts."""
        gold, predicted = self._flat()
        confidence = np.concatenate([*scores, []])
        # A word that was cut off has a score of 0: nothing was said of it.
        read = confidence > 0.0
        return calibration(confidence[read], (gold == predicted)[read])

    @staticmethod
    def _accuracy(right: np.ndarray) -> float:
        """Returns the share of right words of (right, all) by record."""
        return float(right[:, 0].sum() / max(right[:, 1].sum(), 1))

    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns gold and predicted ids of all words; -1 is no tag."""
        ids = {name: i for i, name in enumerate(self._labels)}
        gold = [ids[tag] for tags in self._gold for tag in tags]
        predicted = [ids.get(t, -1) for tags in self._predicted for t in tags]
        return np.array(gold, int), np.array(predicted, int)


class AnswerFigures(Figures):
    """Of answers to questions; see Figures.

    `tune` sets the task's `null_threshold`, to None where every question has
    an answer.
    """

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        """See Figures."""
        gold = [tuple(a.text for a in record.gold) for record in found.records]
        if tune:
            found.task.null_threshold = _best_threshold(gold, found.outputs)
        self._outputs = found.outputs
        self._threshold = found.task.null_threshold
        self._questions = _judged(gold, found.outputs, self._threshold)
        self._scores: np.ndarray | None = None

    @staticmethod
    def names(task: Any, records: Sequence[Record]) -> tuple[str, ...]:
        """See Figures."""
        scores = ("exact_match", "f1")
        calibrated = (*scores, "calibration_error")
        answered = [bool(record.gold) for record in records]
        if all(answered):
            return calibrated
        kinds = ("has_answer", "no_answer") if any(answered) else ("no_answer",)
        of_kinds = (f"{kind}_{score}" for kind in kinds for score in scores)
        return (*calibrated, *of_kinds, "null_threshold")

    def values(self) -> Values:
        """See Figures."""
        values = squad.squad_metrics(self._questions)
        values["calibration_error"] = self.calibration().expected_error
        if self._threshold is not None:
            values["null_threshold"] = self._threshold
        return values

    def sample(self, rows: np.ndarray) -> Values:
        """See Figures."""
        exact_match, f1 = self._by_question()[rows].mean(axis=0)
        return {"exact_match": float(exact_match), "f1": float(f1)}

    def details(self) -> dict[str, Any]:
        """See Figures."""
        if self._threshold is None:
            return {}
        return {"confusion": self._confusion().tolist()}

    def draw(self, prefix: str) -> list[str]:
        """See Figures."""
        paths = [f"{prefix}calibration.png"]
        write_reliability_diagram(paths[0], self.calibration())
        if self._threshold is not None:
            paths.append(f"{prefix}confusion.png")
            write_confusion_matrix(paths[1], self._confusion(), _ANSWERED)
        return paths

    def _confusion(self) -> np.ndarray:
        """Returns counts, int [2, 2]: by _ANSWERED, right x predicted."""
        gold = np.array([not question.gold for question in self._questions])
        given = np.array([not question.answer for question in self._questions])
        return metrics.confusion(gold, given, len(_ANSWERED))

    def calibration(self) -> Calibration:
        """Returns that of the answers; right is one that matches exactly."""
        confidence = [
            ranked_answers(answers, self._threshold, 1)[0]["score"]
            for answers in self._outputs
        ]
        return calibration(np.array(confidence), self._by_question()[:, 0])

    def _by_question(self) -> np.ndarray:
        """Returns exact match and F1 of each question, float [N, 2]."""
        if self._scores is None:
            self._scores = squad.per_question(self._questions)
        return self._scores


def _judged(
    gold: list[tuple[str, ...]], outputs: Any, threshold: float | None
) -> list[squad.Judged]:
    """Returns each question's gold answers beside the one chosen."""
    return [
        squad.Judged(right, answers.chosen(threshold).text)
        for right, answers in zip(gold, outputs, strict=True)
    ]


def _best_threshold(gold: list[tuple[str, ...]], outputs: Any) -> float | None:
    """Returns the best null threshold, None if all have an answer."""
    if all(gold):
        return None
    return squad.tune_null_threshold(
        _judged(gold, outputs, None),
        [answers.null_difference for answers in outputs],
    )
