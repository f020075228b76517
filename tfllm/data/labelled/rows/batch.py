"""Rows that wait to become batches, and what becomes of them.

Each task lays its records out as `Rows`; `batches` orders them.
"""

import dataclasses
from typing import Protocol

import numpy as np

from tfllm.data.labelled.rows import row_layout
from tfllm.data.labelled.rows.row_layout import Placed, RowLayout
from tfllm.data.labelled.rows.token_table import TokenTable
from tfllm.data.labelled.rows.windows import Windows

Arrays = dict[str, np.ndarray]
Batch = tuple[Arrays, Arrays, Arrays]


class TokenColumns(Protocol):
    """What a task says of the tokens of rows."""

    def add_to(self, batch: Batch, rows: np.ndarray, placed: Placed) -> None:
        """Adds to x, y and sample_weight, [R, T] each."""

    def marks(self, rows: np.ndarray, placed: Placed) -> Arrays:
        """Returns what is needed to read the outputs, [R, T, ...] each."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """All rows of a data set.

    An example is a row, or a group of rows that stay together: the choices of
    a question, or the texts to embed of a record.

    Attributes:
        layout: The special tokens.
        table: The tokens of all texts.
        windows: The rows, R.
        records: int32 [E], the record of each example.
        labels: By objective: what `y` holds per example, [E, ...].
        weights: float32 [E], of the examples.
        columns: What more the task says of tokens.
        group_size: Rows per example, G; None: one, without an axis of its own.
        numbered: Objective whose labels are 0 to B - 1 in each batch.
        inputs: What more `x` holds per example, int32 [E, ...].
    """

    layout: RowLayout
    table: TokenTable
    windows: Windows
    records: np.ndarray
    labels: Arrays
    weights: np.ndarray
    columns: TokenColumns | None = None
    group_size: int | None = None
    numbered: str = ""
    inputs: Arrays = dataclasses.field(default_factory=dict)

    @property
    def num_examples(self) -> int:
        """Examples, E."""
        return len(self.records)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the longest row of each example, int64 [E]."""
        lengths = row_layout.row_lengths(self.layout, self.windows.spans)
        return lengths.reshape(-1, self.group_size or 1).max(axis=1)

    def batch(self, examples: np.ndarray, width: int) -> Batch:
        """Returns x, y and sample_weight of some examples.

        Args:
            examples: int64 [B].
            width: Of the padded rows, T.

        Returns:
            x: int32 [B, T] each, or [B, G, T] with G rows per example.
        """
        rows = self._rows_of(examples)
        placed = self._lay_out(rows, width)
        x = {
            "token_ids": placed.token_ids,
            "padding_mask": placed.inside.astype(np.int32),
        }
        if self.layout.has_segments:
            x["segment_ids"] = self._segments(rows, placed)
        y = {name: values[examples] for name, values in self.labels.items()}
        weights = dict.fromkeys(y, self.weights[examples])
        if self.columns is not None:
            self.columns.add_to((x, y, weights), rows, placed)
        if self.numbered:
            y[self.numbered] = np.arange(len(examples), dtype=np.int32)
            weights[self.numbered] = self.weights[examples]
        if self.group_size:
            shape = (len(examples), self.group_size, width)
            x = {name: values.reshape(shape) for name, values in x.items()}
        x |= {name: values[examples] for name, values in self.inputs.items()}
        return x, y, weights

    def marks(self, examples: np.ndarray, width: int) -> Arrays:
        """Returns what is needed to read the outputs of some examples."""
        if self.columns is None:
            return {}
        rows = self._rows_of(examples)
        return self.columns.marks(rows, self._lay_out(rows, width))

    def _rows_of(self, examples: np.ndarray) -> np.ndarray:
        count = self.group_size or 1
        return (examples[:, np.newaxis] * count + np.arange(count)).ravel()

    def _lay_out(self, rows: np.ndarray, width: int) -> Placed:
        return row_layout.lay_out(
            self.layout, self.table, self.windows.spans, rows, width
        )

    def _segments(self, rows: np.ndarray, placed: Placed) -> np.ndarray:
        """Returns 1 where the second text and what follows it stand."""
        spans = self.windows.spans
        if spans.lengths.shape[1] == 1:
            return np.zeros(placed.inside.shape, np.int32)
        begins = row_layout.second_begins(self.layout, spans)[rows]
        second = np.arange(placed.inside.shape[1]) >= begins[:, np.newaxis]
        return (second & placed.inside).astype(np.int32)
