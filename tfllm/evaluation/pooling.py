"""Outputs of rows to one output per record.

A long text is several rows, its windows; each kind of task joins them in its
own way. A pool takes batches of rows in any order.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation.answers import (
    MAX_ANSWER_TOKENS,
    N_BEST,
    Window,
    best_answers,
)

Arrays = dict[str, np.ndarray]


class Pool(Protocol):
    """Collects the outputs of rows."""

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """Takes a batch.

        Args:
            outputs: What the task gave, [B, ...] each.
            numbers: int [B], the record of each row; negative for a row that
                only fills up the batch.
            marks: What the data say about its places, [B, T, ...] each.
        """

    def results(self) -> dict[int, Any]:
        """Returns the output of each record that had a row."""


class MeanPool:
    """The mean of the outputs of the rows.

    Args:
        records: The records.
        name: Of the output.
    """

    def __init__(self, records: Sequence[Record], name: str) -> None:
        """See the class."""
        self._name = name
        self._sums: dict[int, np.ndarray] = {}
        self._counts: dict[int, int] = {}

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """See Pool."""
        values = outputs[self._name].astype("float64")
        for number, value in zip(numbers.tolist(), values, strict=True):
            if number >= 0:
                self._sums[number] = self._sums.get(number, 0.0) + value
                self._counts[number] = self._counts.get(number, 0) + 1

    def results(self) -> dict[int, Any]:
        """See Pool: float64, without the axis of the rows."""
        return {n: self._sums[n] / self._counts[n] for n in sorted(self._sums)}


class WordPool:
    """The logits of each word, from the row where it counts.

    Args:
        records: The records, with their words.
        name: Of the output.
    """

    def __init__(self, records: Sequence[Record], name: str) -> None:
        """See the class."""
        self._records, self._name = records, name
        self._logits: dict[int, np.ndarray] = {}

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """See Pool; `marks["words"]` int [B, T]: word, or -1."""
        logits, words = outputs[self._name], marks["words"]
        for row, number in enumerate(numbers.tolist()):
            if number < 0:
                continue
            if number not in self._logits:
                shape = len(self._records[number].words), logits.shape[-1]
                self._logits[number] = np.full(shape, np.nan)
            places = np.flatnonzero(words[row] >= 0)
            found = words[row, places]
            self._logits[number][found] = logits[row, places]

    def results(self) -> dict[int, Any]:
        """See Pool: float64 [words, L]; not a number where a word was cut."""
        return dict(sorted(self._logits.items()))


class AnswerPool:
    """The best answers over the windows of a context.

    Args:
        records: The records, of a question and a context.
        name: Not used: there are two outputs, `start` and `end`.
        max_tokens: Longest answer.
        n_best: Answers that are kept, at least N_BEST: what is asked for
            below it does not change their probabilities.
    """

    def __init__(
        self,
        records: Sequence[Record],
        name: str,
        max_tokens: int = MAX_ANSWER_TOKENS,
        n_best: int = N_BEST,
    ) -> None:
        """See the class."""
        self._records, self._max_tokens = records, max_tokens
        self._n_best = max(n_best, N_BEST)
        self._windows: dict[int, list[Window]] = {}

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """See Pool; `marks` has `offsets`, `widest` and `null` as Window."""
        for row, number in enumerate(numbers.tolist()):
            if number >= 0:
                self._windows.setdefault(number, []).append(
                    Window(
                        outputs["start"][row],
                        outputs["end"][row],
                        marks["offsets"][row],
                        marks["widest"][row],
                        int(marks["null"][row]),
                    )
                )

    def results(self) -> dict[int, Any]:
        """See Pool: Answers."""
        return {
            number: best_answers(
                windows,
                self._records[number].texts[1],
                n_best=self._n_best,
                max_tokens=self._max_tokens,
            )
            for number, windows in sorted(self._windows.items())
        }


POOLS: dict[str, Any] = {
    "classification": MeanPool,
    "multi_label": MeanPool,
    "regression": MeanPool,
    "tagging": WordPool,
    "question_answering": AnswerPool,
    "embedding": MeanPool,
    "multiple_choice": MeanPool,
}
