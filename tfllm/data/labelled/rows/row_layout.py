"""Lays out rows of one or two texts with NumPy.

Rows are laid out batch by batch. Until then they are spans of token tables, so
that many windows of a text, or many questions about it, take little memory.
`tfllm.tokenizers.rows` does the same in the graph.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from tfllm.data.labelled.rows.token_table import TokenTable
from tfllm.tokenizers.row_template import RowTemplate

NO_TEXT = -1  # special tokens and padding


@dataclasses.dataclass(frozen=True)
class Spans:
    """The texts of rows: one or two spans of tokens each.

    Attributes:
        starts: int64 [R, 1 or 2], first token of each span in the table.
        lengths: int64 [R, 1 or 2], tokens of each span.
    """

    starts: np.ndarray
    lengths: np.ndarray


class Placed(NamedTuple):
    """Padded rows.

    Attributes:
        token_ids: int32 [R, T], token ids.
        inside: bool [R, T], True for tokens, False for padding.
        texts: int8 [R, T], text of each token, 0 or 1, else NO_TEXT.
        sources: int64 [R, T], place in the token table; 0 for NO_TEXT.
        firsts: int64 [R], first column of each row; 0 with padding on the
            right.
        segment_ids: int32 [R, T]; all 0 if the model has no segments.
    """

    token_ids: np.ndarray
    inside: np.ndarray
    texts: np.ndarray
    sources: np.ndarray
    firsts: np.ndarray
    segment_ids: np.ndarray


def row_lengths(template: RowTemplate[int], spans: Spans) -> np.ndarray:
    """Returns the tokens of each row, int64 [R], at least 1."""
    special = template.num_special(spans.lengths.shape[1])
    return np.maximum(spans.lengths.sum(axis=1) + special, 1)


def lay_out(
    template: RowTemplate[int],
    table: TokenTable,
    spans: Spans,
    rows: np.ndarray,
    width: int,
) -> Placed:
    """Lays out and pads some rows.

    Args:
        template: Row template with token ids.
        table: Tokens of all texts.
        spans: Texts of all rows.
        rows: int64 [R], numbers of the rows to lay out.
        width: Tokens of a padded row, T; at least the longest row.
    """
    starts, lengths = spans.starts[rows], spans.lengths[rows]  # [R, 1 or 2]
    columns = np.arange(width)
    totals = row_lengths(template, Spans(starts, lengths))  # [R]
    firsts = np.zeros_like(totals)
    if template.padding_side == "left":
        firsts = width - totals
    texts = np.full((len(rows), width), NO_TEXT, np.int8)  # [R, T]
    sources = np.zeros((len(rows), width), np.int64)
    begins = firsts + len(template.opens)
    specials = [(firsts, template.opens)]
    for text in range(lengths.shape[1]):
        if text:
            specials.append((begins, template.between))
            begins = begins + len(template.between)
        place = columns - begins[:, np.newaxis]  # [R, T]
        here = (place >= 0) & (place < lengths[:, text, np.newaxis])
        texts[here] = text
        sources += np.where(here, place + starts[:, text, np.newaxis], 0)
        begins = begins + lengths[:, text]
    specials.append((begins, template.closes))
    token_ids = np.where(
        texts == NO_TEXT, np.int32(template.pad), _ids_at(table.ids, sources)
    )  # [R, T]
    number = np.arange(len(rows))
    for place, ids in specials:
        for i, token in enumerate(ids):
            token_ids[number, place + i] = token
    place = columns - firsts[:, np.newaxis]
    inside = (place >= 0) & (place < totals[:, np.newaxis])
    segment_ids = _segments(template, Spans(starts, lengths), place, inside)
    return Placed(token_ids, inside, texts, sources, firsts, segment_ids)


def _segments(
    template: RowTemplate[int],
    spans: Spans,
    place: np.ndarray,
    inside: np.ndarray,
) -> np.ndarray:
    """Returns the segment ids of rows, int32 [R, T].

    Args:
        template: Row template with token ids.
        spans: Texts of the rows.
        place: int64 [R, T], column counted from the first token of its row.
        inside: bool [R, T], True for tokens, False for padding.
    """
    segments = template.segments
    ids = np.zeros(place.shape, np.int32)
    if segments is None:
        return ids
    ids[:] = segments.first
    if spans.lengths.shape[1] == 2:
        begins = second_begins(template, spans)[:, np.newaxis]
        ids[place >= begins] = segments.second
    if template.closes and segments.last is not None:
        totals = row_lengths(template, spans)[:, np.newaxis]
        ids[place == totals - 1] = segments.last
    ids[~inside] = segments.pad
    return ids


def second_begins(template: RowTemplate[int], spans: Spans) -> np.ndarray:
    """Returns the place of the second text in its row, int64 [R]."""
    return len(template.opens) + spans.lengths[:, 0] + len(template.between)


def _ids_at(ids: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns ids at places as int32; zeros if the table is empty."""
    if not len(ids):
        return np.zeros(places.shape, np.int32)
    return ids[places].astype(np.int32)
