"""Rows of one or two texts, with the special tokens of a model.

An encoder reads `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`; a decoder reads
`a`, or `a`, its end-of-text token, and `b`. Rows are laid out when a batch is
made: until then they are spans of the texts' tokens, so that the windows of a
long text, or the questions about one, cost nothing.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from tfllm.data.labelled.rows.token_table import TokenTable

NO_TEXT = -1  # where a special token or nothing stands


@dataclasses.dataclass(frozen=True)
class RowLayout:
    """Special tokens of a row.

    Attributes:
        opens: Ids before the first text.
        between: Ids after it, if a second one follows.
        closes: Ids after the last one.
        has_segments: Whether the model tells the two texts apart.
        pad: Id that fills a row, and stands alone in one without tokens.
    """

    opens: tuple[int, ...]
    between: tuple[int, ...]
    closes: tuple[int, ...]
    has_segments: bool
    pad: int

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
    """What rows hold: of one or two texts, a span of tokens each.

    Attributes:
        starts: int64 [R, 1 or 2], first token of each span in the table.
        lengths: int64 [R, 1 or 2].
    """

    starts: np.ndarray
    lengths: np.ndarray


class Placed(NamedTuple):
    """Rows laid out and padded.

    Attributes:
        token_ids: int32 [R, T].
        inside: bool [R, T], whether a token stands there.
        texts: int8 [R, T], 0 or 1 for the text of a token, else NO_TEXT.
        sources: int64 [R, T], place of the text's token in the table, else 0.
    """

    token_ids: np.ndarray
    inside: np.ndarray
    texts: np.ndarray
    sources: np.ndarray


def row_lengths(layout: RowLayout, spans: Spans) -> np.ndarray:
    """Returns the tokens of each row, int64 [R]; one at least."""
    special = layout.num_special(spans.lengths.shape[1])
    return np.maximum(spans.lengths.sum(axis=1) + special, 1)


def lay_out(
    layout: RowLayout,
    table: TokenTable,
    spans: Spans,
    rows: np.ndarray,
    width: int,
) -> Placed:
    """Lays out rows.

    Args:
        layout: The special tokens.
        table: The tokens of all texts.
        spans: What all rows hold.
        rows: int64 [R], those wanted.
        width: T, not less than the longest of them.
    """
    starts, lengths = spans.starts[rows], spans.lengths[rows]
    columns = np.arange(width)
    totals = row_lengths(layout, Spans(starts, lengths))
    texts = np.full((len(rows), width), NO_TEXT, np.int8)
    sources = np.zeros((len(rows), width), np.int64)
    begins = np.full(len(rows), len(layout.opens))
    specials = [(np.zeros_like(begins), layout.opens)]
    for text in range(lengths.shape[1]):
        if text:
            specials.append((begins, layout.between))
            begins = begins + len(layout.between)
        place = columns - begins[:, np.newaxis]
        here = (place >= 0) & (place < lengths[:, text, np.newaxis])
        texts[here] = text
        sources += np.where(here, place + starts[:, text, np.newaxis], 0)
        begins = begins + lengths[:, text]
    specials.append((begins, layout.closes))
    token_ids = np.where(
        texts == NO_TEXT, np.int32(layout.pad), _take(table.ids, sources)
    )
    number = np.arange(len(rows))
    for place, ids in specials:
        for i, token in enumerate(ids):
            token_ids[number, place + i] = token
    inside = columns < totals[:, np.newaxis]
    return Placed(token_ids, inside, texts, sources)


def second_begins(layout: RowLayout, spans: Spans) -> np.ndarray:
    """Returns where the second text of each row begins, int64 [R]."""
    return len(layout.opens) + spans.lengths[:, 0] + len(layout.between)


def _take(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns values as int32; zeros if there are none at all."""
    if not len(values):
        return np.zeros(places.shape, np.int32)
    return values[places].astype(np.int32)
