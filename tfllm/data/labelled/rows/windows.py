"""Windows: cuts long texts, or splits them into overlapping rows."""

import dataclasses

import numpy as np

from tfllm.data.labelled.rows.row_layout import Spans
from tfllm.data.labelled.rows.token_table import TokenTable
from tfllm.tokenizers.row_template import RowTemplate


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of many texts or pairs.

    Attributes:
        owners: int64 [R], text or pair of each window, in rising order.
        spans: Tokens of the windows.
        moving: int64 [R], text of a pair that windows slide over, 0 or 1.
    """

    owners: np.ndarray
    spans: Spans
    moving: np.ndarray

    def __len__(self) -> int:
        """Returns the number of windows."""
        return len(self.owners)

    @property
    def shares(self) -> np.ndarray:
        """1 / (number of windows of the same text), float32 [R]."""
        counts = np.bincount(self.owners)
        return (1.0 / counts[self.owners]).astype(np.float32)

    def is_widest(self, rows: np.ndarray, sources: np.ndarray) -> np.ndarray:
        """Returns whether no other window shows a token with more context.

        The context of a token is the number of tokens to its left or right,
        whichever is smaller; at equal context the first window counts.
        Context rises and then falls from window to window, so that comparing
        the two neighbours is enough.

        Args:
            rows: int64 [N], windows.
            sources: int64 [N, ...], tokens of the moving text.

        Returns:
            bool [N, ...].
        """
        rows = rows.reshape(-1, *[1] * (sources.ndim - 1))  # [N, 1, ...]
        context = self._context(rows, rows, sources)
        before = self._context(rows, rows - 1, sources)
        after = self._context(rows, rows + 1, sources)
        return (context > before) & (context >= after)

    def _context(
        self, rows: np.ndarray, others: np.ndarray, sources: np.ndarray
    ) -> np.ndarray:
        """Returns the context in other windows of the same text, else -1."""
        exists = (others >= 0) & (others < len(self))
        others = np.where(exists, others, rows)
        exists &= self.owners[others] == self.owners[rows]
        moving = self.moving[rows]
        left = sources - self.spans.starts[others, moving]
        right = self.spans.lengths[others, moving] - 1 - left
        context = np.minimum(left, right)
        return np.where(exists, np.maximum(context, -1), -1)


def windows(
    layout: RowTemplate[int],
    table: TokenTable,
    texts: np.ndarray,
    seq_length: int,
    stride: int | None,
) -> Windows:
    """Cuts texts or pairs to a row, or splits them into windows.

    Windows of a pair slide over the second text if it does not fit, else over
    the first. If both are longer than half a row, the first is cut to half a
    row.

    Args:
        layout: Row template with token ids.
        table: Tokens of all texts.
        texts: int64 [E, 1 or 2], texts or pairs, by their number in `table`.
        seq_length: Longest row.
        stride: Tokens from one window to the next; None cuts texts.

    Raises:
        ValueError: `seq_length` or `stride` leave no room.
    """
    budget = room(layout, texts.shape[1], seq_length, stride)
    lengths, starts = table.lengths[texts], table.splits[texts]  # [E, 1 or 2]
    if texts.shape[1] == 1:
        kept = np.minimum(lengths, budget)
    else:
        kept = cut_pairs(lengths, budget)
    moving = np.zeros(len(texts), np.int64)
    if texts.shape[1] == 2:
        moving = (kept[:, 1] < lengths[:, 1]).astype(np.int64)
    return slide(Spans(starts, kept), lengths, moving, stride)


def windows_of_second(
    layout: RowTemplate[int],
    table: TokenTable,
    texts: np.ndarray,
    first_limit: int,
    seq_length: int,
    stride: int,
) -> Windows:
    """Splits the second text of pairs into windows; repeats the first text.

    Args:
        layout: Row template with token ids.
        table: Tokens of all texts.
        texts: int64 [E, 2], pairs, by their number in `table`.
        first_limit: Tokens of the first text at most.
        seq_length: Longest row.
        stride: Tokens from one window to the next; smaller if a window has
            fewer tokens.

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
    """Returns the windows of texts or pairs.

    Windows begin every `stride` tokens, up to the first one that reaches the
    end. The step is at most the length of a window, so that no token is left
    out.

    Args:
        spans: First window of each text or pair.
        lengths: int64 [E, 1 or 2], tokens of the whole texts.
        moving: int64 [E], text of a pair that windows slide over.
        stride: Tokens from one window to the next; None: only the first.
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
    """Truncates pairs longest-first, as `tfllm.tokenizers.rows` does.

    Args:
        lengths: int64 [E, 2], tokens of the texts.
        budget: Tokens for both texts.

    Returns:
        int64 [E, 2], tokens to keep.
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
    layout: RowTemplate[int],
    num_texts: int,
    seq_length: int,
    stride: int | None,
) -> int:
    """Returns the most tokens of text in a row.

    Raises:
        ValueError: A row has no room for a token of each text, or windows
            would leave out tokens.
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
