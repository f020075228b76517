"""Cuts texts to rows, or lays windows over them."""

import dataclasses

import numpy as np

from tfllm.data.labelled.rows.row_layout import RowLayout, Spans
from tfllm.data.labelled.rows.token_table import TokenTable


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of many texts or pairs.

    Attributes:
        owners: int64 [R], the text or pair of each; those of one follow each
            other.
        spans: What they hold.
        moving: int64 [R], 0 or 1: which of a pair the windows slide over.
    """

    owners: np.ndarray
    spans: Spans
    moving: np.ndarray

    def __len__(self) -> int:
        """Returns the number of windows."""
        return len(self.owners)

    @property
    def shares(self) -> np.ndarray:
        """One by the number of windows of the same text, float32 [R]."""
        counts = np.bincount(self.owners)
        return (1.0 / counts[self.owners]).astype(np.float32)

    def is_widest(self, rows: np.ndarray, sources: np.ndarray) -> np.ndarray:
        """Whether no other window shows a token with more context.

        The context of a token is the smaller number of tokens on its two
        sides; of equal windows the first counts. Contexts rise and then fall
        from window to window, so the two neighbours decide.

        Args:
            rows: int64 [N], windows.
            sources: int64 [N, ...], tokens of the moving text.
        """
        rows = rows.reshape(-1, *[1] * (sources.ndim - 1))
        own = self._context(rows, rows, sources)
        before = self._context(rows, rows - 1, sources)
        after = self._context(rows, rows + 1, sources)
        return (own > before) & (own >= after)

    def _context(
        self, rows: np.ndarray, others: np.ndarray, sources: np.ndarray
    ) -> np.ndarray:
        """Returns the context in windows of the same text, else -1."""
        exists = (others >= 0) & (others < len(self))
        others = np.where(exists, others, rows)
        exists &= self.owners[others] == self.owners[rows]
        moving = self.moving[rows]
        left = sources - self.spans.starts[others, moving]
        right = self.spans.lengths[others, moving] - 1 - left
        context = np.minimum(left, right)
        return np.where(exists, np.maximum(context, -1), -1)


def windows(
    layout: RowLayout,
    table: TokenTable,
    texts: np.ndarray,
    seq_length: int,
    stride: int | None,
) -> Windows:
    """Cuts texts to rows, or lays windows over them.

    Of a pair, windows slide over the second text if it does not fit, and
    else over the first. If both are longer than half a row, the first is cut
    to half of it.

    Args:
        layout: The special tokens.
        table: The tokens of all texts.
        texts: int64 [E, 1 or 2], texts or pairs, by their number in `table`.
        seq_length: Longest row.
        stride: Tokens from one window to the next; None cuts.

    Raises:
        ValueError: `seq_length` or `stride` leave no room.
    """
    budget = room(layout, texts.shape[1], seq_length, stride)
    lengths, starts = table.lengths[texts], table.splits[texts]
    if texts.shape[1] == 1:
        kept = np.minimum(lengths, budget)
    else:
        kept = cut_pairs(lengths, budget)
    moving = np.zeros(len(texts), np.int64)
    if texts.shape[1] == 2:
        moving = (kept[:, 1] < lengths[:, 1]).astype(np.int64)
    return slide(Spans(starts, kept), lengths, moving, stride)


def windows_of_second(
    layout: RowLayout,
    table: TokenTable,
    texts: np.ndarray,
    first_limit: int,
    seq_length: int,
    stride: int,
) -> Windows:
    """Lays windows over the second text of pairs, behind the whole first one.

    Args:
        layout: The special tokens.
        table: The tokens of all texts.
        texts: int64 [E, 2], pairs, by their number in `table`.
        first_limit: Tokens of the first text at most.
        seq_length: Longest row.
        stride: Tokens from one window to the next; less where a window holds
            less.

    Raises:
        ValueError: `seq_length` leaves no room.
    """
    budget = room(layout, 2, seq_length, None)
    lengths, starts = table.lengths[texts], table.splits[texts]
    kept = lengths.copy()
    kept[:, 0] = np.minimum(kept[:, 0], min(first_limit, budget - 1))
    kept[:, 1] = np.minimum(kept[:, 1], budget - kept[:, 0])
    moving = np.ones(len(texts), np.int64)
    return slide(Spans(starts, kept), lengths, moving, stride)


def slide(
    spans: Spans,
    lengths: np.ndarray,
    moving: np.ndarray,
    stride: int | None,
) -> Windows:
    """Lays windows over texts.

    Windows begin every `stride` tokens; the last one is the first that
    reaches the end. A window is never further from the next than its own
    length, so every token lies in one.

    Args:
        spans: The first window of each text or pair.
        lengths: int64 [E, 1 or 2], tokens of the whole texts.
        moving: int64 [E], which of a pair the windows slide over.
        stride: Tokens from one window to the next; None: the first only.
    """
    owners = np.arange(len(moving))
    if stride is None:
        return Windows(owners, spans, moving)
    total = lengths[owners, moving]
    size = spans.lengths[owners, moving]
    step = np.maximum(np.minimum(stride, size), 1)
    counts = 1 + -(-(total - size) // step)
    owners = np.repeat(owners, counts)
    number = np.arange(len(owners)) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    first = number * step[owners]
    starts, sizes = spans.starts[owners], spans.lengths[owners]
    place = np.arange(len(owners)), moving[owners]
    starts[place] += first
    sizes[place] = np.minimum(total[owners] - first, size[owners])
    return Windows(owners, Spans(starts, sizes), moving[owners])


def cut_pairs(lengths: np.ndarray, budget: int) -> np.ndarray:
    """Cuts pairs longest-first, as `packing.pack_inputs` does.

    Args:
        lengths: int64 [E, 2], tokens of the texts.
        budget: Tokens for both.

    Returns:
        int64 [E, 2], how many tokens stay.
    """
    first, second = lengths[:, 0], lengths[:, 1]
    shorter = np.minimum(np.minimum(first, second), budget // 2)
    longer = np.minimum(np.maximum(first, second), budget - shorter)
    return np.stack(
        [
            np.where(first > second, longer, shorter),
            np.where(first > second, shorter, longer),
        ],
        axis=1,
    )


def room(
    layout: RowLayout, num_texts: int, seq_length: int, stride: int | None
) -> int:
    """Returns the tokens of text in a row.

    Raises:
        ValueError: There is no token for each text, or windows would leave
            tokens out.
    """
    budget = seq_length - layout.num_special(num_texts)
    if budget < num_texts:
        raise ValueError(
            "`seq_length` must leave room for a token of each text beside "
            f"the special tokens. Received: {seq_length}. Use at least "
            f"{num_texts + layout.num_special(num_texts)}."
        )
    if stride is not None and stride > budget:
        raise ValueError(
            "`stride` must be at most the tokens of text in a row, "
            f"{budget} with seq_length={seq_length}, so that no token is "
            f"left out. Received: {stride}."
        )
    return budget
