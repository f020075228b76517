"""Rows of one or two texts, with the special tokens of a model.

An encoder reads `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`; a decoder reads
`a`, or `a`, its end-of-text token, and `b`.
"""

import dataclasses
from typing import Any

import numpy as np

from tfllm.data.token_table import TokenTable


@dataclasses.dataclass(frozen=True)
class RowLayout:
    """Special tokens of a row.

    Attributes:
        opens: Ids before the first text.
        between: Ids after it, if a second one follows.
        closes: Ids after the last one.
        has_segments: Whether the model tells the two texts apart.
        empty: Id of a row that would have no token.
    """

    opens: tuple[int, ...]
    between: tuple[int, ...]
    closes: tuple[int, ...]
    has_segments: bool
    empty: int

    def num_special(self, num_texts: int) -> int:
        """Special tokens of a row of one or two texts."""
        pair = len(self.between) if num_texts == 2 else 0
        return len(self.opens) + pair + len(self.closes)


def layout_of(tokenizer: Any) -> RowLayout:
    """Returns the layout that goes with a tokenizer."""
    if hasattr(tokenizer, "cls_id"):
        sep = (tokenizer.sep_id,)
        return RowLayout((tokenizer.cls_id,), sep, sep, True, tokenizer.pad_id)
    eos = () if tokenizer.eos_id is None else (tokenizer.eos_id,)
    return RowLayout((), eos, (), False, tokenizer.pad_id)


@dataclasses.dataclass(frozen=True)
class Spans:
    """Which tokens of a table a row holds: one span per text.

    Attributes:
        starts: int64 [N, 1 or 2], first token of each span in the table.
        lengths: int64 [N, 1 or 2].
    """

    starts: np.ndarray
    lengths: np.ndarray

    def take(self, rows: np.ndarray) -> "Spans":
        """Returns some rows."""
        return Spans(self.starts[rows], self.lengths[rows])


def cut_pairs(first: np.ndarray, second: np.ndarray, budget: int) -> Any:
    """Cuts pairs longest-first, as `packing.pack_inputs` does.

    Args:
        first: int64 [N], tokens of the first texts.
        second: int64 [N], tokens of the second texts.
        budget: Tokens for both.

    Returns:
        int64 [N] each, how many tokens stay.
    """
    shorter = np.minimum(np.minimum(first, second), budget // 2)
    longer = np.minimum(np.maximum(first, second), budget - shorter)
    return (
        np.where(first > second, longer, shorter),
        np.where(first > second, shorter, longer),
    )


def slide(
    lengths: np.ndarray, room: np.ndarray, stride: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lays windows over texts.

    Windows begin every `stride` tokens; the last one is the first that
    reaches the end. A window is never further from the next than its own
    length, so every token lies in one.

    Args:
        lengths: int64 [N], tokens of each text.
        room: int64 [N], tokens of a window of each.
        stride: Tokens from one window to the next.

    Returns:
        int64 [W] each: text of each window, its first token, its length.
    """
    steps = np.minimum(stride, room)
    counts = 1 + np.maximum(0, -(-(lengths - room) // steps))
    texts = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(texts)) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    starts = number * steps[texts]
    return texts, starts, np.minimum(lengths[texts] - starts, room[texts])


def place(
    layout: RowLayout, spans: Spans
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns where the tokens of rows come from and go to, all rows flat.

    Args:
        layout: The special tokens.
        spans: What the rows hold.

    Returns:
        splits int64 [N + 1] of the rows; and for each token of a text,
        int64 each, its place in the table and in the rows.
    """
    rows, texts = spans.lengths.shape
    totals = spans.lengths.sum(1) + layout.num_special(texts)
    splits = np.concatenate([[0], np.cumsum(np.maximum(totals, 1))])
    begins = np.zeros((rows, texts), np.int64)
    begins[:, 0] = splits[:-1] + len(layout.opens)
    if texts == 2:
        begins[:, 1] = begins[:, 0] + spans.lengths[:, 0] + len(layout.between)
    return (
        splits,
        _ranges(spans.starts.ravel(), spans.lengths.ravel()),
        _ranges(begins.ravel(), spans.lengths.ravel()),
    )


def lay_out(layout: RowLayout, table: TokenTable, spans: Spans) -> TokenTable:
    """Returns rows with their special tokens, cut and not yet padded."""
    splits, sources, targets = place(layout, spans)
    ids = np.full(splits[-1], layout.empty, table.ids.dtype)
    ids[targets] = table.ids[sources]
    before = splits[:-1] + len(layout.opens) + spans.lengths[:, 0]
    for i, token in enumerate(layout.opens):
        ids[splits[:-1] + i] = token
    if spans.lengths.shape[1] == 2:
        for i, token in enumerate(layout.between):
            ids[before + i] = token
    for i, token in enumerate(reversed(layout.closes), start=1):
        ids[splits[1:] - i] = token
    return TokenTable(ids, splits)


def first_lengths(layout: RowLayout, spans: Spans) -> np.ndarray:
    """Returns the tokens of each row that are of its first segment."""
    after = layout.between if spans.lengths.shape[1] == 2 else layout.closes
    return len(layout.opens) + spans.lengths[:, 0] + len(after)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns start, start + 1, ..., one range after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
