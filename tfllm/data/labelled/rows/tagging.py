"""Rows of tagging: the first piece of each word has its tag."""

from collections.abc import Sequence

import numpy as np

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import has_gold
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows.batch import Arrays, Batch, Rows
from tfllm.data.labelled.rows.byte_places import byte_places
from tfllm.data.labelled.rows.row_layout import Placed
from tfllm.data.labelled.rows.token_table import TokenTable, tokenize
from tfllm.data.labelled.rows.windows import (
    Windows,
    room,
    windows,
    windows_of_second,
)
from tfllm.tokenizers.text_tokenizer import Tokenizer

NO_WORD = -1


def tagging_rows(
    records: Sequence[Record],
    tokenizer: Tokenizer,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Returns the rows of texts to tag, one per window.

    A record with a predicate becomes a pair of that word and the text. For
    models with segments, the tokens of the predicate in the text have
    segment 1.

    Args:
        records: The records, all with gold tags or none.
        tokenizer: The tokenizer of the run.
        config: How records become rows. `stride` defaults to half a window,
            so that no word is left out.
        labels: Labels of the task.

    Raises:
        ValueError: `seq_length` or `stride` leave no room.
    """
    layout = tokenizer.row_template
    pair = any(record.predicate is not None for record in records)
    texts: list[str] = []
    for record in records:
        if pair:
            texts.append(_predicate_text(record))
        texts.append(record.texts[0])
    table = tokenize(texts, tokenizer, with_offsets=True)
    numbers = np.arange(len(texts)).reshape(-1, 1 + pair)
    budget = room(layout, 1 + pair, config.seq_length, config.stride)
    stride = config.stride or max(1, budget // 2)
    rows = (
        windows_of_second(
            layout, table, numbers, budget // 2, config.seq_length, stride
        )
        if pair
        else windows(layout, table, numbers, config.seq_length, stride)
    )
    words = words_of_tokens(table, records, numbers[:, -1])
    columns = _TagColumns(
        rows,
        words,
        np.arange(len(words)) - np.repeat(table.splits[:-1], table.lengths),
        text=int(pair),
        predicates=_predicates(records, layout.has_segments),
        tags=_tags_of_words(records, labels),
        bases=_bases(records),
    )
    return Rows(
        layout=layout,
        table=table,
        windows=rows,
        records=rows.owners.astype(np.int32),
        labels={},
        weights=np.ones(len(rows), np.float32),
        columns=columns,
    )


def words_of_tokens(
    table: TokenTable, records: Sequence[Record], texts: np.ndarray
) -> np.ndarray:
    """Returns the word of each token: the first that shares a byte with it.

    Args:
        table: Tokens with offsets.
        records: Records with their words.
        texts: int64 [records], number of the text of each record in `table`.

    Returns:
        int64 [tokens], number of the word, counted through all records, or
        NO_WORD.
    """
    assert table.starts is not None
    assert table.ends is not None
    starts, ends, sizes = [], [], np.zeros(len(table.splits) - 1, np.int64)
    for record, text in zip(records, texts, strict=True):
        places = byte_places(record.texts[0])
        spans = np.array(record.words, np.int64).reshape(-1, 2)
        starts.append(places[spans[:, 0]])
        ends.append(places[spans[:, 1]])
        sizes[text] = places[-1] + 1  # keeps texts one byte apart
    # Offsets in the concatenation of all texts; only `texts` have words.
    bases = np.cumsum(sizes) - sizes
    counts = [len(part) for part in starts]
    word_bases = np.repeat(bases[texts], counts)  # [words]
    word_starts = np.concatenate([*starts, np.zeros(0, np.int64)]) + word_bases
    word_ends = np.concatenate([*ends, np.zeros(0, np.int64)]) + word_bases
    has_words = np.zeros(len(sizes), bool)
    has_words[texts] = True
    token_bases = np.repeat(bases, table.lengths)  # [tokens]
    token_starts = table.starts + token_bases
    words = np.searchsorted(word_ends, token_starts, side="right")
    nearest = np.minimum(words, max(len(word_ends) - 1, 0))
    inside = np.repeat(has_words, table.lengths) & (words < len(word_ends))
    if len(word_ends):
        inside &= word_starts[nearest] < table.ends + token_bases
    return np.where(inside, words, NO_WORD)


class _TagColumns:
    """Labels and marks of words, on their first pieces; a `TokenColumns`.

    Args:
        windows: The rows.
        words: int64 [tokens], word of each token, counted through all
            records.
        tokens: int64 [tokens], number of each token in its text.
        text: The text of a row to tag, 0 or 1.
        predicates: int64 [records], predicate word, counted through all
            records; None: segments do not mark it.
        tags: int32 [words], or None without gold.
        bases: int64 [records], first word of each record.
    """

    def __init__(
        self,
        windows: Windows,
        words: np.ndarray,
        tokens: np.ndarray,
        text: int,
        predicates: np.ndarray | None,
        tags: np.ndarray | None,
        bases: np.ndarray,
    ) -> None:
        self._windows, self._text, self._tags = windows, text, tags
        self._predicates, self._bases, self._words = predicates, bases, words
        before = np.concatenate([[NO_WORD], words[:-1]])
        self._firsts = np.where(words != before, words, NO_WORD)
        self._tokens = tokens

    def add_to(self, batch: Batch, rows: np.ndarray, placed: Placed) -> None:
        """Adds the predicate's `segment_ids`, and labels `tagging` [R, T]."""
        x, y, weights = batch
        if self._predicates is not None:
            words = self._in_text(self._words, placed)
            owners = self._windows.owners[rows]
            predicates = self._predicates[owners, np.newaxis]  # [R, 1]
            x["segment_ids"] = (words == predicates).astype(np.int32)
        if self._tags is not None:
            firsts = self._in_widest(self._firsts, rows, placed)
            counts = firsts != NO_WORD
            tags = self._tags[np.where(counts, firsts, 0)]
            y["tagging"] = np.where(counts, tags, np.int32(0))
            weights["tagging"] = counts.astype(np.float32)

    def marks(self, rows: np.ndarray, placed: Placed) -> Arrays:
        """Returns the word and the token that count at each place, or -1.

        Returns:
            `words` int32 [R, T], the word of each first piece; `tokens` int32
            [R, T], the number of each token in its text.
        """
        owners = self._windows.owners[rows]
        firsts = self._in_widest(self._firsts, rows, placed)
        bases = self._bases[owners, np.newaxis]
        words = np.where(firsts != NO_WORD, firsts - bases, NO_WORD)
        tokens = self._in_widest(self._tokens, rows, placed)
        return {
            "words": words.astype(np.int32),
            "tokens": tokens.astype(np.int32),
        }

    def _in_widest(
        self, numbers: np.ndarray, rows: np.ndarray, placed: Placed
    ) -> np.ndarray:
        """Returns numbers of tokens in their widest window, else NO_WORD."""
        widest = self._windows.is_widest(rows, placed.sources)
        return np.where(widest, self._in_text(numbers, placed), NO_WORD)

    def _in_text(self, numbers: np.ndarray, placed: Placed) -> np.ndarray:
        """Returns numbers of tokens of the tagged text, else NO_WORD.

        Args:
            numbers: int64 [tokens].
            placed: Rows, [R, T].

        Returns:
            int64 [R, T].
        """
        here = placed.texts == self._text
        return np.where(here, numbers[placed.sources], NO_WORD)


def _bases(records: Sequence[Record]) -> np.ndarray:
    """Returns the number of the first word of each record, int64."""
    counts = np.array([len(record.words) for record in records], np.int64)
    return np.cumsum(counts) - counts


def _predicate_text(record: Record) -> str:
    """Returns the predicate as text; "" without one."""
    if record.predicate is None:
        return ""
    start, end = record.words[record.predicate]
    return record.texts[0][start:end]


def _predicates(
    records: Sequence[Record], has_segments: bool
) -> np.ndarray | None:
    """Returns the predicate of each record among all words.

    None if no record has one, or segments cannot mark it.
    """
    known = [record.predicate for record in records]
    if not has_segments or all(number is None for number in known):
        return None
    # Not NO_WORD, which tokens outside of words have.
    absent = -2
    return np.array(
        [
            absent if number is None else base + number
            for number, base in zip(known, _bases(records), strict=True)
        ],
        np.int64,
    )


def _tags_of_words(
    records: Sequence[Record], labels: Labels
) -> np.ndarray | None:
    """Returns the tag ids of all words, int32; None without gold."""
    if not has_gold(records):
        return None
    return np.array(
        [labels.id_of(tag) for record in records for tag in record.gold],
        np.int32,
    )
