"""Rows of a data set, and their batches.

Each task lays out its records as `Rows`; `batches` decides their order.
"""

import dataclasses
from typing import Protocol

import numpy as np

from tfllm.data.labelled.rows import row_layout
from tfllm.data.labelled.rows.row_layout import Placed
from tfllm.data.labelled.rows.token_table import TokenTable
from tfllm.data.labelled.rows.windows import Windows
from tfllm.tokenizers.row_template import RowTemplate

Arrays = dict[str, np.ndarray]
Batch = tuple[Arrays, Arrays, Arrays]


class TokenColumns(Protocol):
    """Labels and marks that a task has for the tokens of rows."""

    def add_to(self, batch: Batch, rows: np.ndarray, placed: Placed) -> None:
        """Adds columns to x, y and sample_weight, [R, T] each."""

    def marks(self, rows: np.ndarray, placed: Placed) -> Arrays:
        """Returns marks that help to read the outputs, [R, T, ...] each."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """All rows of a data set.

    An example is a row, or a group of rows that stay together: the choices of
    a question, or the texts of a record to embed.

    Attributes:
        layout: Row template with token ids.
        table: Tokens of all texts.
        windows: The rows, R.
        records: int32 [E], record of each example.
        labels: Labels `y` of the examples by objective, [E, ...].
        weights: float32 [E], weights of the examples.
        columns: Labels and marks of tokens, if the task has some.
        group_size: Rows per example, G; None: one row, without this axis.
        numbered: Objective whose labels are 0 to B - 1 in each batch.
        inputs: More features `x` of the examples by name, int32 [E, ...].
    """

    layout: RowTemplate[int]
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
        """Number of examples, E."""
        return len(self.records)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the longest row of each example, int64 [E]."""
        lengths = row_layout.row_lengths(self.layout, self.windows.spans)
        return lengths.reshape(-1, self.group_size or 1).max(axis=1)

    def batch(self, examples: np.ndarray, width: int) -> Batch:
        """Collates examples into a padded batch.

        Args:
            examples: int64 [B], numbers of examples.
            width: Tokens of a padded row, T.

        Returns:
            x, y and sample_weight. Features are int32 [B, T], or [B, G, T]
            with G rows per example.
        """
        rows = self._rows_of(examples)
        placed = self._lay_out_rows(rows, width)
        x = {
            "token_ids": placed.token_ids,
            "padding_mask": placed.inside.astype(np.int32),
        }
        if self.layout.has_segments:
            x["segment_ids"] = placed.segment_ids
        y = {name: values[examples] for name, values in self.labels.items()}
        weights = dict.fromkeys(y, self.weights[examples])
        if self.columns is not None:
            self.columns.add_to((x, y, weights), rows, placed)
        if self.numbered:
            y[self.numbered] = np.arange(len(examples), dtype=np.int32)
            weights[self.numbered] = self.weights[examples]
        if self.group_size:
            shape = (len(examples), self.group_size, width)
            # [B * G, T] -> [B, G, T]
            x = {name: values.reshape(shape) for name, values in x.items()}
        x |= {name: values[examples] for name, values in self.inputs.items()}
        return x, y, weights

    def marks(self, examples: np.ndarray, width: int) -> Arrays:
        """Returns marks that help to read the outputs of some examples."""
        if self.columns is None:
            return {}
        rows = self._rows_of(examples)
        return self.columns.marks(rows, self._lay_out_rows(rows, width))

    def _rows_of(self, examples: np.ndarray) -> np.ndarray:
        """Returns the rows of examples, int64 [B * G]."""
        count = self.group_size or 1
        return (examples[:, np.newaxis] * count + np.arange(count)).ravel()

    def _lay_out_rows(self, rows: np.ndarray, width: int) -> Placed:
        """Returns padded rows, [R, T] each."""
        return row_layout.lay_out(
            self.layout, self.table, self.windows.spans, rows, width
        )
