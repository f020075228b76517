"""Records of tagging as rows: the first piece of each word has its tag."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import has_gold
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows import row_layout
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

NO_WORD = -1


def tagging_rows(
    records: Sequence[Record],
    tokenizer: Any,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Lays out records, a row per window.

    A record with a predicate is laid out as a pair of that word and the
    text; models that tell segments apart get segment 1 on the predicate's
    own tokens in the text.

    Args:
        records: The records; all with a gold label, or none.
        tokenizer: The tokenizer of the run.
        config: How they become rows. `stride` is half the room if not given:
            no word may be left out.
        labels: The labels of the task.

    Raises:
        ValueError: `seq_length` or `stride` leave no room.
    """
    layout = row_layout.layout_of(tokenizer)
    pair = any(record.predicate is not None for record in records)
    texts = [
        text
        for record in records
        for text in ([_predicate(record)] if pair else []) + [record.texts[0]]
    ]
    table = tokenize(texts, tokenizer, with_offsets=True)
    numbers = np.arange(len(texts)).reshape(-1, 1 + pair)
    budget = room(layout, 1 + pair, config.seq_length, config.stride)
    stride = config.stride or max(1, budget // 2)
    found = (
        windows_of_second(
            layout, table, numbers, budget // 2, config.seq_length, stride
        )
        if pair
        else windows(layout, table, numbers, config.seq_length, stride)
    )
    words = words_of_tokens(table, records, numbers[:, -1])
    columns = _TagColumns(
        found,
        words,
        text=int(pair),
        predicates=_predicates(records, layout.has_segments),
        tags=_tags_of_words(records, labels),
        bases=_bases(records),
    )
    return Rows(
        layout=layout,
        table=table,
        windows=found,
        records=found.owners.astype(np.int32),
        labels={},
        weights=np.ones(len(found), np.float32),
        columns=columns,
    )


def words_of_tokens(
    table: TokenTable, records: Sequence[Record], texts: np.ndarray
) -> np.ndarray:
    """Returns the word of each token: the first that it shares a byte with.

    Args:
        table: Tokens with offsets.
        records: Records with their words.
        texts: int64 [records], the number of each one's text in `table`.

    Returns:
        int64 [tokens], the number of the word among those of all records, or
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
        sizes[text] = places[-1] + 1  # texts do not touch
    # All texts one after the other; those between them have no words.
    bases = np.cumsum(sizes) - sizes
    counts = [len(part) for part in starts]
    own = np.repeat(bases[texts], counts)
    word_starts = np.concatenate([*starts, np.zeros(0, np.int64)]) + own
    word_ends = np.concatenate([*ends, np.zeros(0, np.int64)]) + own
    has_words = np.zeros(len(sizes), bool)
    has_words[texts] = True
    base = np.repeat(bases, table.lengths)
    words = np.searchsorted(word_ends, table.starts + base, side="right")
    nearest = np.minimum(words, max(len(word_ends) - 1, 0))
    inside = np.repeat(has_words, table.lengths) & (words < len(word_ends))
    if len(word_ends):
        inside &= word_starts[nearest] < table.ends + base
    return np.where(inside, words, NO_WORD)


class _TagColumns:
    """Tags of first pieces; see `batch.TokenColumns`.

    Args:
        windows: The rows.
        words: int64 [tokens], the word of each token, counted through all
            records.
        text: 0 or 1, which text of a row is tagged.
        predicates: int64 [records], the word that tags are about, counted
            through all records; None: segments do not mark it.
        tags: int32 [words], or None.
        bases: int64 [records], the first word of each.
    """

    def __init__(
        self,
        windows: Windows,
        words: np.ndarray,
        text: int,
        predicates: np.ndarray | None,
        tags: np.ndarray | None,
        bases: np.ndarray,
    ) -> None:
        """See the class."""
        self._windows, self._text, self._tags = windows, text, tags
        self._predicates, self._bases, self._words = predicates, bases, words
        before = np.concatenate([[NO_WORD], words[:-1]])
        self._firsts = np.where(words != before, words, NO_WORD)

    def add_to(self, batch: Batch, rows: np.ndarray, placed: Placed) -> None:
        """See TokenColumns."""
        x, y, weights = batch
        if self._predicates is not None:
            words = self._in_text(self._words, placed)
            own = self._predicates[self._windows.owners[rows], np.newaxis]
            x["segment_ids"] = (words == own).astype(np.int32)
        if self._tags is not None:
            firsts = self._counted(rows, placed)
            counts = firsts != NO_WORD
            tags = self._tags[np.where(counts, firsts, 0)]
            y["tagging"] = np.where(counts, tags, np.int32(0))
            weights["tagging"] = counts.astype(np.float32)

    def marks(self, rows: np.ndarray, placed: Placed) -> Arrays:
        """Returns `words`: the word of each first piece that counts, or -1."""
        firsts = self._counted(rows, placed)
        bases = self._bases[self._windows.owners[rows], np.newaxis]
        words = np.where(firsts != NO_WORD, firsts - bases, NO_WORD)
        return {"words": words.astype(np.int32)}

    def _counted(self, rows: np.ndarray, placed: Placed) -> np.ndarray:
        """Returns the words whose tag is read here, not in another window."""
        firsts = self._in_text(self._firsts, placed)
        widest = self._windows.is_widest(rows, placed.sources)
        return np.where(widest, firsts, NO_WORD)

    def _in_text(self, values: np.ndarray, placed: Placed) -> np.ndarray:
        """Returns values of the tokens of the tagged text, else NO_WORD."""
        here = placed.texts == self._text
        return np.where(here, values[placed.sources], NO_WORD)


def _bases(records: Sequence[Record]) -> np.ndarray:
    """Returns the number of the first word of each record."""
    counts = np.array([len(record.words) for record in records], np.int64)
    return np.cumsum(counts) - counts


def _predicate(record: Record) -> str:
    """Returns the predicate as text."""
    if record.predicate is None:
        return ""
    start, end = record.words[record.predicate]
    return record.texts[0][start:end]


def _predicates(
    records: Sequence[Record], has_segments: bool
) -> np.ndarray | None:
    """Returns the predicate of each record among all words, if marked."""
    known = [record.predicate for record in records]
    if not has_segments or all(number is None for number in known):
        return None
    # NO_WORD is also what tokens outside of words have.
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
    """Returns the tag ids of all words, or None without gold."""
    if not has_gold(records):
        return None
    return np.array(
        [labels.id_of(tag) for record in records for tag in record.gold],
        np.int32,
    )
