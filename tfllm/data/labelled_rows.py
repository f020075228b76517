"""Rows that wait to become batches: ids, labels, weights, and whose they are.

Each task lays its records out as `Rows`; `labelled` orders and pads them.
"""

import dataclasses

import numpy as np

from tfllm.data.token_table import TokenTable


@dataclasses.dataclass(frozen=True)
class Rows:
    """All rows of a data set, flat, not yet padded.

    An example is `rows_per_example` rows that stay together: the choices of a
    question, or the two texts of a pair to embed. It is 1 elsewhere.

    Attributes:
        tokens: Their ids.
        firsts: int32 [N], tokens of the first segment; the rest are of the
            second.
        records: int32 [E], the record of each example.
        labels: By objective: what `y` holds, [E, ...], padding aside.
        weights: float32 [E], of the examples.
        token_columns: More arrays that lie beside `tokens.ids`, by name:
            per-token labels, weights and masks.
        rows_per_example: See above.
        has_segments: Whether `x` tells the segments apart.
        pad_id: Id that fills a row.
    """

    tokens: TokenTable
    firsts: np.ndarray
    records: np.ndarray
    labels: dict[str, np.ndarray]
    weights: np.ndarray
    token_columns: dict[str, np.ndarray] = dataclasses.field(
        default_factory=dict
    )
    rows_per_example: int = 1
    has_segments: bool = True
    pad_id: int = 0

    @property
    def num_examples(self) -> int:
        """Examples."""
        return len(self.records)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the longest row of each example, int64 [E]."""
        shape = (-1, self.rows_per_example)
        return self.tokens.lengths.reshape(shape).max(axis=1)

    def inputs(self, examples: np.ndarray, width: int) -> dict[str, np.ndarray]:
        """Returns `x` of some examples.

        Args:
            examples: int64 [B].
            width: Of the padded rows, T.

        Returns:
            int32 [B, T] each, or [B, G, T] with G rows per example.
        """
        places, inside = self._places(examples, width)
        ids = self.tokens.ids[places].astype(np.int32)
        x = {
            "token_ids": np.where(inside, ids, np.int32(self.pad_id)),
            "padding_mask": inside.astype(np.int32),
        }
        if self.has_segments:
            firsts = self.firsts.reshape(-1, self.rows_per_example)
            firsts = self._shape(firsts[examples][..., np.newaxis])
            second = inside & (np.arange(width) >= firsts)
            x["segment_ids"] = second.astype(np.int32)
        return x

    def column(self, name: str, examples: np.ndarray, width: int) -> np.ndarray:
        """Returns a column beside the tokens as `inputs` does, 0 outside."""
        places, inside = self._places(examples, width)
        values = self.token_columns[name]
        return np.where(inside, values[places], values.dtype.type(0))

    def _places(
        self, examples: np.ndarray, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns where tokens lie, and whether there is one."""
        splits = self.tokens.splits
        shape = (-1, self.rows_per_example)
        starts = splits[:-1].reshape(shape)[examples][..., np.newaxis]
        ends = splits[1:].reshape(shape)[examples][..., np.newaxis]
        places = self._shape(starts + np.arange(width))
        inside = places < self._shape(ends)
        return np.where(inside, places, 0), inside

    def _shape(self, values: np.ndarray) -> np.ndarray:
        """Drops the axis of the rows of an example where it has one."""
        return values[:, 0] if self.rows_per_example == 1 else values
