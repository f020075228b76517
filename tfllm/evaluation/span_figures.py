"""Figures of tags, of the entities they form, and of answers to questions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.tag_schemes import are_entity_tags, scheme_of
from tfllm.evaluation import metrics, squad
from tfllm.evaluation.calibration import Calibration, calibration
from tfllm.evaluation.charts import (
    write_confusion_matrix,
    write_reliability_diagram,
)
from tfllm.evaluation.entity_figures import (
    entity_counts,
    entity_metrics,
    metrics_of_counts,
    per_entity_type,
)
from tfllm.evaluation.figures import SCORES, Figures, averages
from tfllm.evaluation.metrics import Values
from tfllm.outputs.answers import Answers, ranked_answers
from tfllm.outputs.predictions import Predictions
from tfllm.outputs.tags import best_tags, entity_tags
from tfllm.tasks import Task

# Rows and columns of the confusion matrix of questions.
_ANSWERED = ("answer", "no answer")


class TagFigures(Figures):
    """Figures of tags and their entities."""

    main = (
        "f1",
        "precision",
        "recall",
        "accuracy",
        "macro_f1",
        "calibration_error",
    )

    def __init__(self, predictions: Predictions, tune: bool = False) -> None:
        self._labels = predictions.task.labels
        self._are_entities = are_entity_tags(self._labels)
        self._gold = [list(record.gold) for record in predictions.records]
        best = [best_tags(out, self._labels) for out in predictions.outputs]
        self._predicted = [tags for tags, _ in best]
        pairs = list(zip(self._gold, self._predicted, strict=True))
        # int [N, 2]: right words and all words of each record.
        self._right = np.array(
            [(sum(map(str.__eq__, a, b)), len(a)) for a, b in pairs]
        )
        # Gold and predicted tags in the form that `entities` reads.
        self._entities = tuple(
            [entity_tags(tags, self._labels) for tags in texts]
            for texts in (self._gold, self._predicted)
        )
        if self._are_entities:
            self._counts = entity_counts(*self._entities)
        self._calibration = self._calibrated([scores for _, scores in best])

    @staticmethod
    def names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns the names; scores of entities only for entity tags."""
        entity_scores = SCORES if are_entity_tags(task.labels) else ()
        return (
            "accuracy",
            "calibration_error",
            *entity_scores,
            *averages("macro"),
        )

    def values(self) -> Values:
        """Returns the figures of all records."""
        if self._are_entities:
            scores = entity_metrics(*self._entities)
        else:
            gold, predicted = self._flat()
            # -1, a word without a tag, is an error, but not a class.
            labels = np.union1d(gold, predicted[predicted >= 0])
            scores = metrics.averages(
                gold, predicted, "macro", "macro_", labels.tolist()
            )
        return {
            **scores,
            "accuracy": self._accuracy(self._right),
            "calibration_error": self._calibration.expected_error,
        }

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the main figures of some records, int [M]."""
        figures = {"accuracy": self._accuracy(self._right[rows])}
        if self._are_entities:
            figures |= metrics_of_counts(self._counts[rows])
        return figures

    def details(self) -> dict[str, Any]:
        """Returns the figures of each label, and a confusion matrix."""
        if self._are_entities:
            tables = per_entity_type(*self._entities)
        else:
            tables = metrics.per_label(*self._flat(), self._labels)
        return {
            "labels": tables,
            "tag_scheme": scheme_of(self._labels, self._gold).name,
            "confusion": self._confusion().tolist(),
        }

    def draw(self, prefix: str) -> list[str]:
        """Writes PREFIX*.png and returns the paths."""
        paths = [f"{prefix}confusion.png", f"{prefix}calibration.png"]
        write_confusion_matrix(paths[0], self._confusion(), self._labels)
        write_reliability_diagram(paths[1], self._calibration)
        return paths

    def _confusion(self) -> np.ndarray:
        """Returns counts of words, int [L, L], gold tag x predicted tag."""
        gold, predicted = self._flat()
        # The matrix has no column for words without a tag.
        tagged = predicted >= 0
        return metrics.confusion(
            gold[tagged], predicted[tagged], len(self._labels)
        )

    def _calibrated(self, scores: list[list[float]]) -> Calibration:
        """Returns the calibration of tags for the scores of all texts."""
        gold, predicted = self._flat()
        confidence = np.concatenate([*scores, []])
        # Words that were cut off have a score of 0: they were not tagged.
        read = confidence > 0.0
        return calibration(confidence[read], (gold == predicted)[read])

    @staticmethod
    def _accuracy(right: np.ndarray) -> float:
        """Returns the share of right words for int [N, 2]: right, all."""
        return float(right[:, 0].sum() / max(right[:, 1].sum(), 1))

    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns gold and predicted ids of all words; -1 without a tag."""
        ids = {name: i for i, name in enumerate(self._labels)}
        gold = [ids[tag] for tags in self._gold for tag in tags]
        predicted = [ids.get(t, -1) for tags in self._predicted for t in tags]
        return np.array(gold, int), np.array(predicted, int)


class AnswerFigures(Figures):
    """Figures of answers to questions.

    `tune` sets the `null_threshold` of the task; to None if every question
    has an answer.
    """

    main = ("f1", "exact_match", "has_answer_f1", "no_answer_f1")

    def __init__(self, predictions: Predictions, tune: bool = False) -> None:
        task, outputs = predictions.task, predictions.outputs
        gold = [tuple(a.text for a in r.gold) for r in predictions.records]
        if tune:
            task.null_threshold = _best_threshold(gold, outputs)
        self._outputs: Sequence[Answers] = outputs
        self._threshold = task.null_threshold
        self._questions = _judged(gold, outputs, self._threshold)
        self._scores: np.ndarray | None = None

    @staticmethod
    def names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns the names; scores by kind if not all have answers."""
        scores = ("exact_match", "f1")
        calibrated = (*scores, "calibration_error")
        answered = [bool(record.gold) for record in records]
        if all(answered):
            return calibrated
        kinds = ("has_answer", "no_answer") if any(answered) else ("no_answer",)
        of_kinds = (f"{kind}_{score}" for kind in kinds for score in scores)
        return (*calibrated, *of_kinds, "null_threshold")

    def values(self) -> Values:
        """Returns the figures of all records."""
        figures = squad.squad_metrics(self._questions)
        figures["calibration_error"] = self.calibration().expected_error
        if self._threshold is not None:
            figures["null_threshold"] = self._threshold
        return figures

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the main figures of some records, int [M]."""
        exact_match, f1 = self._by_question()[rows].mean(axis=0)
        return {"exact_match": float(exact_match), "f1": float(f1)}

    def details(self) -> dict[str, Any]:
        """Returns the confusion matrix of questions with and without answer."""
        if self._threshold is None:
            return {}
        return {"confusion": self._confusion().tolist()}

    def draw(self, prefix: str) -> list[str]:
        """Writes PREFIX*.png and returns the paths."""
        paths = [f"{prefix}calibration.png"]
        write_reliability_diagram(paths[0], self.calibration())
        if self._threshold is not None:
            paths.append(f"{prefix}confusion.png")
            write_confusion_matrix(paths[1], self._confusion(), _ANSWERED)
        return paths

    def _confusion(self) -> np.ndarray:
        """Returns counts, int [2, 2], gold x predicted, each as _ANSWERED."""
        gold = np.array([not q.gold for q in self._questions])
        predicted = np.array([not q.answer for q in self._questions])
        return metrics.confusion(gold, predicted, len(_ANSWERED))

    def calibration(self) -> Calibration:
        """Returns the calibration of the answers; right is an exact match."""
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
    gold: list[tuple[str, ...]],
    outputs: Sequence[Answers],
    threshold: float | None,
) -> list[squad.Judged]:
    """Returns the gold answers of each question with the chosen answer."""
    return [
        squad.Judged(right, answers.chosen(threshold).text)
        for right, answers in zip(gold, outputs, strict=True)
    ]


def _best_threshold(
    gold: list[tuple[str, ...]], outputs: Sequence[Answers]
) -> float | None:
    """Returns the best null threshold; None if all questions have answers."""
    if all(gold):
        return None
    return squad.tune_null_threshold(
        _judged(gold, outputs, None),
        [answers.null_difference for answers in outputs],
    )
