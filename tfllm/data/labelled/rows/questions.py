"""Records of question answering as rows: windows over the context.

Reference: Devlin et al., 2019, section 4.2; the length of 384, windows every
128 tokens and questions of 64 are those of its code.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.config import (
    QUESTION_STRIDE,
    LabelledDataConfig,
)
from tfllm.data.labelled.gold import has_gold
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows import row_layout
from tfllm.data.labelled.rows.batch import Arrays, Batch, Rows
from tfllm.data.labelled.rows.byte_places import byte_places
from tfllm.data.labelled.rows.row_layout import Placed, RowLayout
from tfllm.data.labelled.rows.token_table import TokenTable, tokenize
from tfllm.data.labelled.rows.windows import Windows, windows_of_second

_CONTEXT = 1  # the second text of a row
_NONE = -1


def question_rows(
    records: Sequence[Record],
    tokenizer: Any,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Lays out records, a row per window over the context.

    Contexts are tokenized once, however many questions there are about one.

    Args:
        records: The records; all with gold answers, or none.
        tokenizer: The tokenizer of the run.
        config: How they become rows.
        labels: Not used.

    Raises:
        ValueError: `seq_length` leaves no room, or a decoder's tokenizer has
            no end-of-text token.
    """
    layout = question_layout(tokenizer)
    contexts = {record.texts[1]: 0 for record in records}
    numbers = {text: len(records) + i for i, text in enumerate(contexts)}
    texts = [*(r.texts[0].strip() for r in records), *contexts]
    table = tokenize(texts, tokenizer, with_offsets=True)
    offsets = character_offsets(table, texts, len(records))
    pairs = np.array(
        [(i, numbers[r.texts[1]]) for i, r in enumerate(records)], np.int64
    ).reshape(-1, 2)
    found = windows_of_second(
        layout,
        table,
        pairs,
        config.question_length,
        config.seq_length,
        config.stride or QUESTION_STRIDE,
    )
    answers = None
    if has_gold(records):
        answers = answer_tokens(records, table, offsets, pairs[:, 1])
    return Rows(
        layout=layout,
        table=dataclasses.replace(table, starts=None, ends=None),
        windows=found,
        records=found.owners.astype(np.int32),
        labels={},
        weights=np.ones(len(found), np.float32),
        columns=_AnswerColumns(layout, found, offsets, answers),
    )


def question_layout(tokenizer: Any) -> RowLayout:
    """Returns the layout of a question and its context.

    "No answer" is a token of its own that has read everything: [CLS], or the
    end-of-text token behind the context for a decoder.
    """
    layout = row_layout.layout_of(tokenizer)
    if layout.opens:
        return layout
    if not layout.between:
        raise ValueError(
            "question answering needs a tokenizer with [CLS] or an end-of-"
            "text token, which stands for no answer. Received: one without."
        )
    return dataclasses.replace(layout, closes=layout.between)


def character_offsets(
    table: TokenTable, texts: Sequence[str], first: int
) -> np.ndarray:
    """Returns the characters of each token, without white space before it.

    Args:
        table: Tokens with offsets in bytes.
        texts: Their texts.
        first: The first text to look at.

    Returns:
        int32 [tokens, 2], the first character and the one after the last;
        equal for a token of white space alone, and 0 in other texts.
    """
    assert table.starts is not None
    assert table.ends is not None
    found = np.zeros((len(table.ids), 2), np.int32)
    for number in range(first, len(texts)):
        text = texts[number]
        own = slice(table.splits[number], table.splits[number + 1])
        places = byte_places(text)
        starts = np.searchsorted(places, table.starts[own], side="right") - 1
        # A token of byte-level BPE may end inside a character.
        ends = np.searchsorted(places, table.ends[own], side="left")
        filled = np.array([not c.isspace() for c in text] + [True])
        following = np.flatnonzero(filled)
        after = following[np.searchsorted(following, starts)]
        found[own, 0] = np.minimum(after, ends)
        found[own, 1] = ends
    return found


def answer_tokens(
    records: Sequence[Record],
    table: TokenTable,
    offsets: np.ndarray,
    contexts: np.ndarray,
) -> np.ndarray:
    """Returns the tokens that hold the first answer of each record.

    Args:
        records: Records with gold answers.
        table: The tokens.
        offsets: int32 [tokens, 2], characters of each.
        contexts: int64 [records], the number of each one's context.

    Returns:
        int64 [records, 2], first and last token in the table; _NONE without
        an answer, or where the tokenizer keeps nothing of it.
    """
    found = np.full((len(records), 2), _NONE, np.int64)
    for row, record, number in zip(found, records, contexts, strict=True):
        if not record.gold:
            continue
        text, start = record.gold[0]
        end = start + len(text.rstrip())
        start += len(text) - len(text.lstrip())
        low, high = table.splits[number], table.splits[number + 1]
        first = np.searchsorted(offsets[low:high, 1], start, side="right")
        last = np.searchsorted(offsets[low:high, 0], end, side="left") - 1
        if first <= last:
            row[:] = low + first, low + last
    return found


class _AnswerColumns:
    """Where answers stand; see `batch.TokenColumns`.

    Args:
        layout: The special tokens.
        windows: The rows.
        offsets: int32 [tokens, 2], characters of each.
        answers: int64 [records, 2], first and last token, or None.
    """

    def __init__(
        self,
        layout: RowLayout,
        windows: Windows,
        offsets: np.ndarray,
        answers: np.ndarray | None,
    ) -> None:
        """See the class."""
        self._layout, self._windows = layout, windows
        self._offsets, self._answers = offsets, answers

    def add_to(self, batch: Batch, rows: np.ndarray, placed: Placed) -> None:
        """See TokenColumns."""
        x, y, weights = batch
        null = self._null(placed)
        allowed = self._in_context(placed)
        allowed[np.arange(len(rows)), null] = True
        x["answer_mask"] = allowed.astype(np.int32)
        if self._answers is None:
            return
        tokens = self._answers[self._windows.owners[rows]]
        spans = self._windows.spans
        starts = spans.starts[rows, _CONTEXT]
        ends = starts + spans.lengths[rows, _CONTEXT]
        inside = (tokens[:, 0] >= starts) & (tokens[:, 1] < ends)
        shift = row_layout.second_begins(self._layout, spans)[rows] - starts
        for i, name in enumerate(("start", "end")):
            place = np.where(inside, tokens[:, i] + shift, null)
            y[name] = place.astype(np.int32)
            weights[name] = np.ones(len(rows), np.float32)

    def marks(self, rows: np.ndarray, placed: Placed) -> Arrays:
        """Returns what it takes to find answers.

        `offsets` int32 [R, T, 2], characters in the context, (-1, -1) outside
        it; `widest` bool [R, T], no other window shows the token with more
        context; `null` int32 [R], the place of no answer.
        """
        inside = self._in_context(placed)
        offsets = np.where(
            inside[..., np.newaxis],
            self._offsets[placed.sources],
            np.int32(_NONE),
        )
        widest = inside & self._windows.is_widest(rows, placed.sources)
        return {
            "offsets": offsets,
            "widest": widest,
            "null": self._null(placed).astype(np.int32),
        }

    def _in_context(self, placed: Placed) -> np.ndarray:
        """Whether a token of the context that is not blank stands there."""
        offsets = self._offsets[placed.sources]
        filled = offsets[..., 0] < offsets[..., 1]
        return (placed.texts == _CONTEXT) & filled

    def _null(self, placed: Placed) -> np.ndarray:
        """Returns the place of no answer in each row."""
        if self._layout.opens:
            return np.zeros(len(placed.inside), np.int64)
        return placed.inside.sum(axis=1) - 1
