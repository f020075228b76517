"""Span corruption: sentinels replace spans, and the target is the spans.

With noise at "for inviting" and "last":

    text    Thank you for inviting me to your party last
    source  Thank you <0> me to your party <1>
    target  <0> for inviting <1> last <2>

All rows have as many noisy tokens and spans, so that widths are fixed and
sources are full.

Reference: Raffel et al., 2020, section 3.1.4 and figure 2. As in its
repository, a row begins with text that stays and ends with a span.
NOTE: targets end with a further sentinel, as in the paper and in what the
published models write; the repository leaves it out.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfllm import stateless
from tfllm.data.denoising.config import DenoisingOptions
from tfllm.data.denoising.noise import Noisy, compact

# mT5's sentinels are pieces of the model, with a space.
_SENTINEL = re.compile(r"▁?<extra_id_(\d+)>")
# Streams of `stateless.draw_array`.
_NOISY, _KEPT = range(2)


class Lengths(NamedTuple):
    """Numbers of tokens in each row.

    Attributes:
        tokens: Tokens of the text, L.
        noisy: Tokens in spans.
        spans: Spans.
    """

    tokens: int
    noisy: int
    spans: int

    @property
    def source(self) -> int:
        """Tokens of the source."""
        return self.tokens - self.noisy + self.spans

    @property
    def target(self) -> int:
        """Tokens of the target."""
        return self.noisy + self.spans + 1


def lengths_of(tokens: int, options: DenoisingOptions) -> Lengths:
    """Returns the lengths for rows of a number of tokens of text."""
    # Some text stays, and some does not.
    noisy = min(max(round(tokens * options.density), 1), tokens - 1)
    spans = max(round(noisy / options.mean_span_length), 1)
    return Lengths(tokens, noisy, min(spans, noisy, tokens - noisy))


def longest(room: int, options: DenoisingOptions) -> Lengths:
    """Returns the lengths of rows that fill a source.

    Args:
        room: Tokens of a source, without special tokens, and most tokens of a
            target.
        options: Density and mean length of the spans.
    """
    best = lengths_of(2, options)
    # A source is no shorter than half of its text.
    for tokens in range(3, 2 * room + 1):
        lengths = lengths_of(tokens, options)
        if max(lengths.source, lengths.target) <= room:
            best = lengths
    return best


def sentinel_ids(vocab: Sequence[str]) -> list[int]:
    """Returns the ids of `<extra_id_0>`, `<extra_id_1>` and so on.

    Args:
        vocab: Tokens in the order of their ids.
    """
    by_number: dict[int, int] = {}
    for token_id, token in enumerate(vocab):
        if match := _SENTINEL.fullmatch(token):
            by_number.setdefault(int(match[1]), token_id)
    ids: list[int] = []
    while len(ids) in by_number:
        ids.append(by_number[len(ids)])
    return ids


class SpanCorruption:
    """Replaces spans by sentinels; see `Noise` of `tfllm.data.denoising.noise`.

    Args:
        options: Density and mean length of the spans.
        sentinels: Ids of the sentinels, in order.
        room: Tokens of a source, without special tokens.

    Raises:
        ValueError: There are too few sentinels.
    """

    def __init__(
        self, options: DenoisingOptions, sentinels: Sequence[int], room: int
    ) -> None:
        self._lengths = longest(room, options)
        needed = self._lengths.spans + 1
        if len(sentinels) < needed:
            raise ValueError(
                "`denoising=span_corruption` needs a tokenizer with sentinels "
                f"<extra_id_0> to <extra_id_{needed - 1}> for rows of this "
                f"length. Received: one with {len(sentinels)}. "
                + (
                    "Lower `seq_length` or raise `mean_span_length`."
                    if sentinels
                    else "Use that of T5, or denoising=text_infilling."
                )
            )
        self._sentinels = np.array(sentinels[:needed], np.int32)
        self.num_tokens = self._lengths.tokens
        self.source_width = self._lengths.source
        self.target_width = self._lengths.target

    def __call__(self, tokens: np.ndarray, keys: np.ndarray) -> Noisy:
        """Adds noise to tokens [N, L]."""
        begins, noisy = self._mask(keys)  # [N, L]
        # Number of the span that begins at or before each token.
        number = np.maximum(np.cumsum(begins, axis=1) - 1, 0)  # [N, L]
        sentinels = self._sentinels[number]  # [N, L]
        sources = compact(
            np.where(begins, sentinels, tokens),
            begins | ~noisy,
            self.source_width,
        )
        # [N, L, 2] -> [N, 2 * L]: a sentinel before each token of the text.
        pairs = np.stack([sentinels, tokens], axis=2)
        keep = np.stack([begins, noisy], axis=2)
        rows = len(tokens)
        spans = compact(
            pairs.reshape(rows, -1),
            keep.reshape(rows, -1),
            self.target_width - 1,
        )
        last = np.full((rows, 1), self._sentinels[-1])
        return Noisy(sources, np.concatenate([spans, last], axis=1))

    def _mask(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns where spans begin, and what is in spans, bool [N, L]."""
        tokens, noisy, spans = self._lengths
        kept_sizes = _sizes(keys, _KEPT, tokens - noisy, spans)  # [N, spans]
        noisy_sizes = _sizes(keys, _NOISY, noisy, spans)
        ends = np.cumsum(kept_sizes + noisy_sizes, axis=1)
        starts = ends - noisy_sizes
        rows = np.arange(len(keys))[:, np.newaxis]
        begins = np.zeros((len(keys), tokens), bool)
        begins[rows, starts] = True
        # A token is noisy if more spans have begun than ended before it.
        change = np.zeros((len(keys), tokens + 1), np.int32)
        change[rows, starts] += 1
        change[rows, ends] -= 1
        return begins, np.cumsum(change, axis=1)[:, :-1] > 0


def _sizes(keys: np.ndarray, stream: int, total: int, parts: int) -> np.ndarray:
    """Divides a number into positive parts, all divisions equally likely.

    Args:
        keys: uint64 [N].
        stream: Stream of the random numbers.
        total: The number.
        parts: Number of parts.

    Returns:
        int64 [N, parts], with the sum `total`.
    """
    cuts = np.zeros((len(keys), parts + 1), np.int64)
    cuts[:, -1] = total
    if parts > 1:
        bits = stateless.draw_array(keys, stream, total - 1)
        order = np.argsort(bits, axis=1, kind="stable")
        cuts[:, 1:-1] = np.sort(order[:, : parts - 1], axis=1) + 1
    return np.diff(cuts, axis=1)
