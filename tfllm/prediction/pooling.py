"""Pools the outputs of rows into one output per record.

A long text has several rows, its windows. Each kind of task joins their
outputs in another way. A pool takes batches of rows in any order.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.outputs.answers import (
    MAX_ANSWER_TOKENS,
    N_BEST,
    Window,
    best_answers,
)

Arrays = dict[str, np.ndarray]


class Pool(Protocol):
    """Collects the outputs of rows by record."""

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """Adds the outputs of a batch.

        Args:
            outputs: Outputs of the task, [B, ...] each.
            numbers: int [B], record of each row; negative for rows that only
                fill up the batch.
            marks: Marks of the data for each token, [B, T, ...]; see
                `LabelledData.evaluation_rows`.
        """

    def results(self) -> dict[int, Any]:
        """Returns the pooled output by number of the record."""


class MeanPool:
    """Averages the outputs of the rows of a record.

    Args:
        records: The records.
        name: Name of the output.
        n_best: Not used: a record has one output.
    """

    def __init__(
        self, records: Sequence[Record], name: str, n_best: int = N_BEST
    ) -> None:
        self._name = name
        self._sums: dict[int, np.ndarray] = {}
        self._counts: dict[int, int] = {}

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """Adds the output of each row, [B, ...], to the sum of its record."""
        rows = outputs[self._name].astype("float64")
        for number, row in zip(numbers.tolist(), rows, strict=True):
            if number >= 0:
                self._sums[number] = self._sums.get(number, 0.0) + row
                self._counts[number] = self._counts.get(number, 0) + 1

    def results(self) -> dict[int, Any]:
        """Returns the float64 means by record, [...]."""
        return {n: self._sums[n] / self._counts[n] for n in sorted(self._sums)}


class WordPool:
    """Takes the logits of each word from the row where it counts.

    Args:
        records: The records, with their words.
        name: Name of the output.
        n_best: Not used: a word has one output.
    """

    def __init__(
        self, records: Sequence[Record], name: str, n_best: int = N_BEST
    ) -> None:
        self._records, self._name = records, name
        self._logits: dict[int, np.ndarray] = {}

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """Adds logits [B, T, L]; `words` in `marks` is int [B, T], or -1."""
        logits, words = outputs[self._name], marks["words"]
        for row, number in enumerate(numbers.tolist()):
            if number < 0:
                continue
            if number not in self._logits:
                shape = len(self._records[number].words), logits.shape[-1]
                self._logits[number] = np.full(shape, np.nan)
            places = np.flatnonzero(words[row] >= 0)
            self._logits[number][words[row, places]] = logits[row, places]

    def results(self) -> dict[int, Any]:
        """Returns float64 [words, L] by record; NaN for words that were cut."""
        return dict(sorted(self._logits.items()))


class TokenPool:
    """Takes the logits of each token from the row where it counts.

    Args:
        records: Not used: `marks` number the tokens.
        name: Name of the output.
    """

    def __init__(self, records: Sequence[Record], name: str) -> None:
        self._name = name
        self._logits: dict[int, dict[int, np.ndarray]] = {}
        self._num_labels = 0

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """Adds logits [B, T, L]; `tokens` in `marks` is int [B, T], or -1."""
        logits, tokens = outputs[self._name], marks["tokens"]
        self._num_labels = logits.shape[-1]
        for row, number in enumerate(numbers.tolist()):
            if number < 0:
                continue
            by_token = self._logits.setdefault(number, {})
            for place in np.flatnonzero(tokens[row] >= 0):
                by_token[int(tokens[row, place])] = logits[row, place]

    def results(self) -> dict[int, Any]:
        """Returns float32 [tokens, L] by record."""
        return {
            number: np.array([by_token[i] for i in sorted(by_token)]).reshape(
                -1, self._num_labels
            )
            for number, by_token in sorted(self._logits.items())
        }


class AnswerPool:
    """Finds the best answers over the windows of a context.

    Args:
        records: Records of a question and a context.
        name: Not used: the outputs are `start` and `end`.
        n_best: Answers to keep. At least N_BEST are kept, so that asking for
            fewer does not change their probabilities.
        max_tokens: Longest answer in tokens.
    """

    def __init__(
        self,
        records: Sequence[Record],
        name: str,
        n_best: int = N_BEST,
        max_tokens: int = MAX_ANSWER_TOKENS,
    ) -> None:
        self._records, self._max_tokens = records, max_tokens
        self._n_best = max(n_best, N_BEST)
        self._windows: dict[int, list[Window]] = {}

    def add(self, outputs: Arrays, numbers: np.ndarray, marks: Arrays) -> None:
        """Adds windows; `marks` has `offsets`, `widest` and `null`."""
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
        """Returns the Answers by record."""
        return {
            number: best_answers(
                windows,
                self._records[number].texts[1],
                n_best=self._n_best,
                max_tokens=self._max_tokens,
            )
            for number, windows in sorted(self._windows.items())
        }
