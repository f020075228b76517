"""Records of question answering as rows: windows over the context.

Reference: Devlin et al., 2019, section 4.2. Its code has rows of 384 tokens,
windows every 128 tokens, and questions of 64 tokens.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import has_gold
from tfllm.data.labelled.kinds import QUESTION_STRIDE
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows import row_layout
from tfllm.data.labelled.rows.batch import Arrays, Batch, Rows
from tfllm.data.labelled.rows.byte_places import byte_places
from tfllm.data.labelled.rows.row_layout import Placed
from tfllm.data.labelled.rows.token_table import TokenTable, tokenize
from tfllm.data.labelled.rows.windows import Windows, windows_of_second
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.text_tokenizer import Tokenizer

_CONTEXT = 1  # the second text of a row
_NONE = -1


def question_rows(
    records: Sequence[Record],
    tokenizer: Tokenizer,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Returns the rows of questions, one per window over the context.

    A context is tokenized once for all of its questions.

    Args:
        records: The records, all with gold answers or none.
        tokenizer: The tokenizer of the run.
        config: How records become rows.
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
    rows = windows_of_second(
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
        windows=rows,
        records=rows.owners.astype(np.int32),
        labels={},
        weights=np.ones(len(rows), np.float32),
        columns=_AnswerColumns(
            layout, rows, offsets, answers, no_answer_is_first(tokenizer)
        ),
    )


def question_layout(tokenizer: Tokenizer) -> RowTemplate[int]:
    """Returns the row template of a question and its context.

    A special token that sees the whole row stands for no answer: `cls`, or
    the token that ends a row; see `no_answer_is_first`.

    Raises:
        ValueError: The tokenizer has neither, and no end-of-text token to
            end rows with.
    """
    layout = tokenizer.row_template
    if layout.closes or no_answer_is_first(tokenizer):
        return layout
    eos = tokenizer.special.eos
    if eos is None:
        raise ValueError(
            "question answering needs a tokenizer with a cls or an end-of-"
            "text token, which stands for no answer. Received: one without."
        )
    return dataclasses.replace(layout, closes=(eos,))


def no_answer_is_first(tokenizer: Tokenizer) -> bool:
    """Returns whether the first token stands for no answer, not the last."""
    return tokenizer.special.cls in tokenizer.row_template.opens


def character_offsets(
    table: TokenTable, texts: Sequence[str], first: int
) -> np.ndarray:
    """Returns (start, end) characters of tokens, without leading space.

    Args:
        table: Tokens with offsets in bytes.
        texts: Their texts.
        first: First text to compute offsets for; those before have 0.

    Returns:
        int32 [tokens, 2]; start and end are equal for white space alone.
    """
    assert table.starts is not None
    assert table.ends is not None
    offsets = np.zeros((len(table.ids), 2), np.int32)
    for number in range(first, len(texts)):
        text = texts[number]
        tokens = slice(table.splits[number], table.splits[number + 1])
        places = byte_places(text)
        starts = table.starts[tokens]
        starts = np.searchsorted(places, starts, side="right") - 1
        # A token of byte-level BPE may end inside a character.
        ends = np.searchsorted(places, table.ends[tokens], side="left")
        filled = np.array([not c.isspace() for c in text] + [True])
        following = np.flatnonzero(filled)
        after = following[np.searchsorted(following, starts)]
        offsets[tokens, 0] = np.minimum(after, ends)
        offsets[tokens, 1] = ends
    return offsets


def answer_tokens(
    records: Sequence[Record],
    table: TokenTable,
    offsets: np.ndarray,
    contexts: np.ndarray,
) -> np.ndarray:
    """Returns the first and last token of the first answer of each record.

    Args:
        records: Records with gold answers.
        table: The tokens.
        offsets: int32 [tokens, 2], characters of each token.
        contexts: int64 [records], number of the context of each record.

    Returns:
        int64 [records, 2], tokens in the table; _NONE without an answer, or
        if no token covers it.
    """
    spans = np.full((len(records), 2), _NONE, np.int64)
    for row, record, number in zip(spans, records, contexts, strict=True):
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
    return spans


class _AnswerColumns:
    """Labels and marks of answers; a `TokenColumns`.

    Args:
        layout: Row template with token ids.
        windows: The rows.
        offsets: int32 [tokens, 2], characters of each token.
        answers: int64 [records, 2], first and last token, or None.
        null_is_first: Whether the first token of a row stands for no answer,
            not the last one.
    """

    def __init__(
        self,
        layout: RowTemplate[int],
        windows: Windows,
        offsets: np.ndarray,
        answers: np.ndarray | None,
        null_is_first: bool,
    ) -> None:
        self._layout, self._windows = layout, windows
        self._offsets, self._answers = offsets, answers
        self._null_is_first = null_is_first

    def add_to(self, batch: Batch, rows: np.ndarray, placed: Placed) -> None:
        """Adds `answer_mask` [R, T], and labels `start` and `end` [R]."""
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
        begins = row_layout.second_begins(self._layout, spans)[rows]
        shift = placed.firsts + begins - starts
        for i, name in enumerate(("start", "end")):
            place = np.where(inside, tokens[:, i] + shift, null)
            y[name] = place.astype(np.int32)
            weights[name] = np.ones(len(rows), np.float32)

    def marks(self, rows: np.ndarray, placed: Placed) -> Arrays:
        """Returns the marks that `outputs.answers.Window` needs.

        Returns:
            `offsets` int32 [R, T, 2], characters in the context, (-1, -1)
            outside it; `widest` bool [R, T], whether no other window shows
            the token with more context; `null` int32 [R], the place of no
            answer.
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
        """Returns where non-blank tokens of the context stand, bool [R, T]."""
        offsets = self._offsets[placed.sources]
        filled = offsets[..., 0] < offsets[..., 1]
        return (placed.texts == _CONTEXT) & filled

    def _null(self, placed: Placed) -> np.ndarray:
        """Returns the place of no answer in each row, int64 [R]."""
        if self._null_is_first:
            return placed.firsts
        return placed.firsts + placed.inside.sum(axis=1) - 1
