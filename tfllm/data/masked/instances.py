"""Documents to training examples: the tokens of segments A and B.

The sentences of a block are stored in one flat token array. So an example is
five integers (start and end of A and of B, and the label), and only these are
stored and shuffled. `assemble` lays out many examples as rows of one or two
texts in a few vectorised ops.

Reference: Devlin et al., 2019, section 3.1 and appendix A.2 (nsp); Lan et al.,
2020, section 3.1 (sop); Liu et al., 2019, section 4.2 (none).
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfllm import stateless
from tfllm.data.masked.config import InstanceSettings
from tfllm.data.masked.readers import Document
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.text_tokenizer import Tokenizer

Span = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class StaticMasks:
    """Masks drawn once, as stored in a shard.

    Args:
        positions: int32 [N, P], ascending; 0 in unused slots.
        counts: int32 [N], number of used slots.
        ids: int32 [N, P], token written at each position; in unused slots
            the first token of the row.
    """

    positions: np.ndarray
    counts: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Examples:
    """The examples of one block or shard.

    Args:
        token_ids: int32 [tokens], the sentences of the block.
        spans: int32 [N, 4], (a_start, a_end, b_start, b_end) in `token_ids`;
            b_start = b_end for single segments.
        labels: int32 [N], 1 for a random or swapped B, else 0.
        masks: Static masks, or None.
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
        documents: Lists of sentences.
        tokenizer: The tokenizer.

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
    limit: int,
    block: int,
) -> Examples:
    """Builds the examples of one block, shuffled.

    Args:
        token_ids: int32 [tokens].
        sentence_offsets: int64 [S + 1], first token of each sentence.
        document_offsets: int64 [D + 1], first sentence of each document.
        settings: How documents become examples.
        limit: Tokens of text in a row.
        block: Index of the block, which seeds all random choices.

    Returns:
        The examples, a function of the arguments alone.
    """
    sampler = _Sampler(
        starts=sentence_offsets.tolist(),
        documents=document_offsets.tolist(),
        limit=limit,
        short_seq_prob=settings.short_seq_prob,
        # Of this generator only `random()` and `getrandbits` are used: their
        # sequences are the same in all versions of Python.
        rng=random.Random(stateless.key(settings.seed, block)),
    )
    build = _BUILDERS[settings.pair_objective]
    spans: list[Span] = []
    for _ in range(settings.dupe_factor):
        for document in range(len(sampler.documents) - 1):
            spans.extend(build(sampler, document))
    table = np.array(spans, np.int32).reshape(-1, 5)
    order = stateless.permutation(len(table), settings.seed, block)
    table = table[order]
    return Examples(token_ids, table[:, :4], table[:, 4])


@dataclass(frozen=True)
class _Sampler:
    """The sentences of a block, and the random choices among them.

    Args:
        starts: First token of each sentence, and the end of the last.
        documents: First sentence of each document, and the end of the last.
        limit: Tokens of text in a row.
        short_seq_prob: Share of documents with a random shorter target.
        rng: Random generator of the block.
    """

    starts: list[int]
    documents: list[int]
    limit: int
    short_seq_prob: float
    rng: random.Random

    def target_length(self) -> int:
        """Draws the target length of the examples of a document."""
        if self.rng.random() < self.short_seq_prob:
            # Uniform on [2, limit].
            return 2 + int(self.rng.random() * (self.limit - 1))
        return self.limit

    def sentences(self, document: int) -> tuple[int, int]:
        """Returns the first sentence of a document, and the end."""
        return self.documents[document], self.documents[document + 1]


def _next_sentence_spans(sampler: _Sampler, document: int) -> Iterator[Span]:
    """Yields next-sentence pairs of a document, by the published algorithm.

    NOTE: a random B comes from another document of the same block, or from
    the same document if the block has only one. The original holds the whole
    corpus in memory, and may draw the same document after 10 tries.
    """
    starts, documents, rng = sampler.starts, sampler.documents, sampler.rng
    target = sampler.target_length()
    first, last = sampler.sentences(document)
    others = len(documents) - 2
    while first < last:
        # A chunk has sentences up to the target length, at least one.
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
            target_end = b_start + target - (a_end - a_start)
            b_end = starts[bisect_left(starts, target_end, low + 1, high)]
            label = 1
            first = middle  # unused sentences are put back
        else:
            b_start, b_end = a_end, starts[end]
            label = 0
            first = end
        spans = a_start, a_end, b_start, b_end
        yield *_truncate(*spans, sampler.limit, rng), label


def _sentence_order_spans(sampler: _Sampler, document: int) -> Iterator[Span]:
    """Yields pairs of consecutive segments, half of them swapped.

    NOTE: a chunk of one sentence is extended by the next one; the last
    sentence of a document is cut at a random token. The original pairs it
    with a random document, and labels it as swapped.
    """
    starts, rng = sampler.starts, sampler.rng
    target = sampler.target_length()
    first, last = sampler.sentences(document)
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
            start, cut, cut, stop, sampler.limit, rng
        )
        if rng.random() < 0.5:
            yield b_start, b_end, a_start, a_end, 1
        else:
            yield a_start, a_end, b_start, b_end, 0


def _single_spans(sampler: _Sampler, document: int) -> Iterator[Span]:
    """Yields whole sentences packed up to the target; long ones are cut."""
    starts = sampler.starts
    target = sampler.target_length()
    first, last = sampler.sentences(document)
    start, stop = starts[first], starts[last]
    while start < stop:
        end = stop
        if stop - start > target:
            # The last sentence border up to the target, else the target.
            end = starts[
                bisect_right(starts, start + target, first, last + 1) - 1
            ]
            if end <= start:
                end = start + target
        yield start, end, end, end, 0
        start = end


_BUILDERS: dict[str, Callable[[_Sampler, int], Iterator[Span]]] = {
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

    The published algorithm removes one token at a time from the longer side
    (B at a tie), from its front or back with equal probability. So the number
    of tokens removed from each side is fixed, and the number removed from its
    front is binomial.
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
    template: RowTemplate[int],
    paired: bool,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Lays out examples as rows of ids, padded on the right.

    Args:
        token_ids: int32 [tokens], at least one.
        spans: int32 [N, 4], as in `Examples`.
        seq_length: Tokens of a padded row, T.
        template: Row template with token ids.
        paired: Whether rows have two texts.

    Returns:
        int32 [N, T] ids; int32 [N] tokens of the first segment with its
        special tokens; int32 [N] tokens of the row.
    """
    # Four times [N, 1].
    a_start, a_end, b_start, b_end = tf.unstack(spans[..., tf.newaxis], 4, 1)
    before = len(template.opens)
    middle = template.between if paired else template.closes
    first_end = a_end - a_start + before  # [N, 1]
    first = first_end + len(middle)
    second_end = first + (b_end - b_start if paired else 0)
    total = second_end + (len(template.closes) if paired else 0)
    column = tf.range(seq_length)[tf.newaxis]  # [1, T]
    source = tf.where(
        column < first, column + (a_start - before), column + (b_start - first)
    )  # [N, T]
    last = tf.shape(token_ids)[0] - 1
    ids = tf.gather(token_ids, tf.clip_by_value(source, 0, last))  # [N, T]
    for i, token in enumerate(template.opens):
        ids = tf.where(column == i, token, ids)
    for i, token in enumerate(middle):
        ids = tf.where(column == first_end + i, token, ids)
    if paired:
        for i, token in enumerate(template.closes):
            ids = tf.where(column == second_end + i, token, ids)
    ids = tf.where(column >= total, template.pad, ids)
    return ids, first[:, 0], total[:, 0]
