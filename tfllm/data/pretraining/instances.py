"""Documents to training examples: which tokens form segments A and B.

The sentences of a block lie one after another in one flat token array, so
every example is five integers (where A and B start and end, and the label),
and only these are stored, shuffled and moved. `assemble` lays many examples
out as [CLS] A [SEP] B [SEP] rows in a few vectorised ops.

Reference: Devlin et al., 2019, section 3.1 and appendix A.2 (nsp); Lan et al.,
2020, section 3.1 (sop); Liu et al., 2019, section 4.2 (none).
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfllm import stateless
from tfllm.data.pretraining.readers import Document

PAIR_OBJECTIVES = ("nsp", "sop", "none")

Span = tuple[int, int, int, int, int]


class Tokenizer(Protocol):
    """What the data modules need of a tokenizer."""

    vocab_size: int
    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    is_special: np.ndarray
    is_continuation: np.ndarray

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Strings [N] to token ids int32 [N, (tokens)]."""

    def vocab_hash(self) -> str:
        """Hash of the vocabulary."""


@dataclass(frozen=True)
class InstanceSettings:
    """How documents become examples.

    Args:
        seq_length: tokens per example, special tokens included.
        pair_objective: "nsp" (is B the next text or a random one), "sop" (are
            A and B swapped) or "none" (one segment, no label).
        short_seq_prob: share of documents with a random shorter target.
        dupe_factor: passes over the documents, each with other pairs.
        seed: seed of all choices.
    """

    seq_length: int = 128
    pair_objective: str = "nsp"
    short_seq_prob: float = 0.1
    dupe_factor: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.seq_length < 8:
            raise ValueError(
                f"`seq_length` must be at least 8. Received: {self.seq_length}."
            )
        if self.pair_objective not in PAIR_OBJECTIVES:
            raise ValueError(
                f"`pair_objective` must be one of {PAIR_OBJECTIVES}. "
                f"Received: {self.pair_objective!r}."
            )
        if not 0 <= self.short_seq_prob <= 1:
            raise ValueError(
                "`short_seq_prob` must lie in [0, 1]. "
                f"Received: {self.short_seq_prob}."
            )
        if self.dupe_factor < 1:
            raise ValueError(
                "`dupe_factor` must be at least 1. "
                f"Received: {self.dupe_factor}."
            )


@dataclass(frozen=True)
class StaticMasks:
    """Masks drawn once, as they lie in a shard.

    Args:
        positions: int32 [N, P], ascending, unused slots 0.
        counts: int32 [N], used slots.
        ids: int32 [N, P], the token put at each position; in unused slots
            the first token of the row.
    """

    positions: np.ndarray
    counts: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Examples:
    """The examples of one block or shard.

    Args:
        token_ids: int32 [tokens], the block's sentences one after another.
        spans: int32 [N, 4], (a_start, a_end, b_start, b_end) in `token_ids`;
            b_start = b_end for single segments.
        labels: int32 [N], 1 = random or swapped B, 0 otherwise.
        masks: static masks, or None.
    """

    token_ids: np.ndarray
    spans: np.ndarray
    labels: np.ndarray
    masks: StaticMasks | None = None

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.spans)


def tokenize_documents(
    documents: Sequence[Document], tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokenizes documents into one flat array.

    Args:
        documents: lists of sentences.
        tokenizer: any in-graph tokenizer.

    Returns:
        token_ids int32 [tokens]; sentence_offsets int64 [S + 1] into them;
        document_offsets int64 [D + 1] into the sentences. Sentences without
        tokens and documents without sentences are left out.
    """
    lines = [line for document in documents for line in document]
    if not lines:
        empty = np.zeros(1, np.int64)
        return np.zeros(0, np.int32), empty, empty
    tokens = tokenizer.tokenize(tf.constant(lines))
    splits = tokens.row_splits.numpy()
    kept = np.diff(splits) > 0
    owner = np.repeat(np.arange(len(documents)), [len(d) for d in documents])
    sizes = np.bincount(owner[kept], minlength=len(documents))
    document_offsets = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    sentence_offsets = np.concatenate([[0], splits[1:][kept]])
    return tokens.flat_values.numpy(), sentence_offsets, document_offsets


def build_examples(
    token_ids: np.ndarray,
    sentence_offsets: np.ndarray,
    document_offsets: np.ndarray,
    settings: InstanceSettings,
    block: int,
) -> Examples:
    """Builds the examples of one block, shuffled.

    Args:
        token_ids: int32 [tokens].
        sentence_offsets: int64 [S + 1], where each sentence starts.
        document_offsets: int64 [D + 1], the first sentence of each document.
        settings: what to build.
        block: index of the block; with the seed, it keys every choice.

    Returns:
        The examples, a function of the arguments alone.
    """
    # `random()` and `getrandbits` are the calls whose sequence Python keeps
    # the same across versions.
    rng = random.Random(stateless.key(settings.seed, block))
    starts = sentence_offsets.tolist()
    documents = document_offsets.tolist()
    build = _BUILDERS[settings.pair_objective]
    spans: list[Span] = []
    for _ in range(settings.dupe_factor):
        for document in range(len(documents) - 1):
            spans.extend(build(starts, documents, document, settings, rng))
    table = np.array(spans, np.int32).reshape(-1, 5)
    order = stateless.permutation(len(table), settings.seed, block)
    table = table[order]
    return Examples(token_ids, table[:, :4], table[:, 4])


def _target_length(limit: int, short: float, rng: random.Random) -> int:
    if rng.random() < short:
        return 2 + int(rng.random() * (limit - 1))  # uniform on [2, limit]
    return limit


def _next_sentence_spans(
    starts: list[int],
    documents: list[int],
    document: int,
    settings: InstanceSettings,
    rng: random.Random,
) -> Iterator[Span]:
    """Next-sentence pairs of one document, by the published algorithm.

    NOTE: a random B never comes from the same document unless the block has
    only one (the original gives up after 10 draws), and comes from the same
    block (the original holds the whole corpus in memory).
    """
    limit = settings.seq_length - 3  # [CLS], [SEP], [SEP]
    target = _target_length(limit, settings.short_seq_prob, rng)
    first, last = documents[document], documents[document + 1]
    others = len(documents) - 2
    while first < last:
        # The chunk: sentences up to the target, at least one.
        end = bisect_left(starts, starts[first] + target, first + 1, last)
        middle = first + 1
        if end - first >= 2:
            middle += int(rng.random() * (end - first - 1))
        a_start, a_end = starts[first], starts[middle]
        if end - first == 1 or rng.random() < 0.5:
            other = document
            if others:
                other = int(rng.random() * others)
                other += other >= document
            low, high = documents[other], documents[other + 1]
            low += int(rng.random() * (high - low))
            b_start = starts[low]
            wanted = b_start + target - (a_end - a_start)
            b_end = starts[bisect_left(starts, wanted, low + 1, high)]
            label = 1
            first = middle  # the sentences not used are put back
        else:
            b_start, b_end = a_end, starts[end]
            label = 0
            first = end
        yield *_truncate(a_start, a_end, b_start, b_end, limit, rng), label


def _sentence_order_spans(
    starts: list[int],
    documents: list[int],
    document: int,
    settings: InstanceSettings,
    rng: random.Random,
) -> Iterator[Span]:
    """Pairs of consecutive segments, half of them swapped.

    NOTE: a chunk of one sentence takes the next one too, or is cut at a
    random token where the document ends (the original pairs it with a random
    document and labels it swapped).
    """
    limit = settings.seq_length - 3
    target = _target_length(limit, settings.short_seq_prob, rng)
    first, last = documents[document], documents[document + 1]
    while first < last:
        end = bisect_left(starts, starts[first] + target, first + 1, last)
        if end - first == 1 and end < last:
            end += 1
        start, stop = starts[first], starts[end]
        if end - first >= 2:
            cut = starts[first + 1 + int(rng.random() * (end - first - 1))]
        else:
            cut = start + 1 + int(rng.random() * (stop - start - 1))
        first = end
        if stop - start < 2:
            continue  # one token has no order
        a_start, a_end, b_start, b_end = _truncate(
            start, cut, cut, stop, limit, rng
        )
        if rng.random() < 0.5:
            yield b_start, b_end, a_start, a_end, 1
        else:
            yield a_start, a_end, b_start, b_end, 0


def _single_spans(
    starts: list[int],
    documents: list[int],
    document: int,
    settings: InstanceSettings,
    rng: random.Random,
) -> Iterator[Span]:
    """Whole sentences packed up to the target; long ones are cut."""
    limit = settings.seq_length - 2  # [CLS], [SEP]
    target = _target_length(limit, settings.short_seq_prob, rng)
    first, last = documents[document], documents[document + 1]
    start, stop = starts[first], starts[last]
    while start < stop:
        end = stop
        if stop - start > target:
            # The last sentence border within the target, or else the target.
            end = starts[
                bisect_right(starts, start + target, first, last + 1) - 1
            ]
            if end <= start:
                end = start + target
        yield start, end, end, end, 0
        start = end


_BUILDERS = {
    "nsp": _next_sentence_spans,
    "sop": _sentence_order_spans,
    "none": _single_spans,
}


def _truncate(
    a_start: int,
    a_end: int,
    b_start: int,
    b_end: int,
    limit: int,
    rng: random.Random,
) -> tuple[int, int, int, int]:
    """Shortens a pair to `limit` tokens.

    As published: one token at a time from the longer side (B at a tie), each
    from the front or the back with equal chance. How many go from each side is
    thus fixed, and how many of those from the front is binomial.
    """
    a_size, b_size = a_end - a_start, b_end - b_start
    excess = a_size + b_size - limit
    if excess <= 0:
        return a_start, a_end, b_start, b_end
    a_left = limit - b_size if b_size <= limit // 2 else (limit + 1) // 2
    a_left = min(a_size, a_left)
    a_cut, b_cut = a_size - a_left, b_size - (limit - a_left)
    if a_cut:
        front = rng.getrandbits(a_cut).bit_count()
        a_start, a_end = a_start + front, a_end - (a_cut - front)
    if b_cut:
        front = rng.getrandbits(b_cut).bit_count()
        b_start, b_end = b_start + front, b_end - (b_cut - front)
    return a_start, a_end, b_start, b_end


def assemble(
    token_ids: tf.Tensor,
    spans: tf.Tensor,
    seq_length: int,
    tokenizer: Tokenizer,
    paired: bool,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Lays examples out as rows of ids.

    Args:
        token_ids: int32 [tokens], at least one.
        spans: int32 [N, 4], as in `Examples`.
        seq_length: width T of the rows.
        tokenizer: gives the special ids.
        paired: rows are [CLS] A [SEP] B [SEP]; otherwise [CLS] A [SEP].

    Returns:
        int32 [N, T] ids; int32 [N] tokens of the first segment with its
        special tokens; int32 [N] tokens of the row.
    """
    a_start, a_end, b_start, b_end = tf.unstack(spans[..., tf.newaxis], 4, 1)
    first = a_end - a_start + 2  # [N, 1]
    total = first + (b_end - b_start + 1 if paired else 0)
    column = tf.range(seq_length)[tf.newaxis]  # [1, T]
    source = tf.where(
        column < first, column + (a_start - 1), column + (b_start - first)
    )
    last = tf.shape(token_ids)[0] - 1
    ids = tf.gather(token_ids, tf.clip_by_value(source, 0, last))
    separator = (column == first - 1) | (column == total - 1)
    ids = tf.where(separator, tokenizer.sep_id, ids)
    ids = tf.where(column == 0, tokenizer.cls_id, ids)
    ids = tf.where(column >= total, tokenizer.pad_id, ids)
    return ids, first[:, 0], total[:, 0]
