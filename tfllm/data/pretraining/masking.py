"""Masked-language-model masks, as TensorFlow ops on whole batches.

The same ops draw dynamic masks in `tf.data` and static ones in prepared
shards. Every choice is a function of (seed, epoch, example id, place in the
row): the same for any batch size, order or number of workers.

References: Devlin et al., 2019, section 3.1 and its repository (token,
whole_word); Lan et al., 2020, section 3.1 (span).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm import stateless
from tfllm.data.pretraining.instances import Tokenizer

MASKING_UNITS = ("token", "whole_word", "span")

# Streams of `stateless.draw`.
_ORDER, _SPAN_SIZE, _REPLACEMENT = range(3)


@dataclass(frozen=True)
class MaskingConfig:
    """What is masked, and how.

    Args:
        rate: share of a row's tokens to mask, special tokens counted.
        max_predictions: most masked tokens per row, P; default
            ceil(rate * seq_length).
        unit: what is masked together: "token", "whole_word" or "span" (1 to
            `max_span_words` whole words, p(n) proportional to 1/n).
        mask_share: share of masked pieces that become [MASK].
        random_share: share that become a random id; the rest stay.
        max_span_words: longest span.
    """

    rate: float = 0.15
    max_predictions: int | None = None
    unit: str = "token"
    mask_share: float = 0.8
    random_share: float = 0.1
    max_span_words: int = 3

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 0 < self.rate < 1:
            raise ValueError(
                "`mask_rate` must lie between 0 and 1. "
                f"Received: {self.rate}. BERT uses 0.15."
            )
        if self.max_predictions is not None and self.max_predictions < 1:
            raise ValueError(
                "`max_predictions` must be at least 1. "
                f"Received: {self.max_predictions}."
            )
        if self.unit not in MASKING_UNITS:
            raise ValueError(
                f"`masking` must be one of {MASKING_UNITS}. "
                f"Received: {self.unit!r}."
            )
        shares = (self.mask_share, self.random_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(
                "`mask_share` and `random_share` must be at least 0 and at "
                f"most 1 together. Received: {shares}."
            )
        if self.max_span_words < 1:
            raise ValueError(
                "`max_span_words` must be at least 1. "
                f"Received: {self.max_span_words}."
            )

    def num_slots(self, seq_length: int) -> int:
        """Masked slots per row, P."""
        if self.max_predictions is None:
            # Rounded first: 0.15 * 20 is 3.0000000000000004 in floats.
            return math.ceil(round(self.rate * seq_length, 6))
        if self.max_predictions > seq_length:
            raise ValueError(
                "`max_predictions` must not exceed `seq_length` "
                f"{seq_length}. Received: {self.max_predictions}."
            )
        return self.max_predictions


class Masked(NamedTuple):
    """A masked batch.

    Args:
        token_ids: int32 [B, T], with the masks put in.
        positions: int32 [B, P], ascending; 0 in unused slots.
        labels: int32 [B, P], the true ids; 0 in unused slots.
        weights: float32 [B, P], 1 in used slots, 0 in unused ones.
    """

    token_ids: tf.Tensor
    positions: tf.Tensor
    labels: tf.Tensor
    weights: tf.Tensor


class Masker:
    """Draws masks for batches of one width.

    Args:
        config: what is masked.
        tokenizer: gives the special, continuation and [MASK] ids.
        seq_length: width T of the rows.
        seed: seed of all choices.

    Call args:
        token_ids: int32 [B, T], ids below the tokenizer's `vocab_size`.
        num_tokens: int32 [B], tokens per row, special ones included.
        example_ids: int64 [B].
        epoch: int64 scalar or [B].

    Returns:
        Masked. A row without maskable tokens has zero weights.
    """

    def __init__(
        self,
        config: MaskingConfig,
        tokenizer: Tokenizer,
        seq_length: int,
        seed: int,
    ) -> None:
        """Prepares the tables of the vocabulary."""
        self._config = config
        self._seq_length = seq_length
        self._num_slots = config.num_slots(seq_length)
        self._seed = seed
        self._mask_id = tokenizer.mask_id
        self._vocab_size = tokenizer.vocab_size
        self._is_special = np.asarray(tokenizer.is_special)
        self._is_continuation = np.asarray(tokenizer.is_continuation)

    def __call__(
        self,
        token_ids: tf.Tensor,
        num_tokens: tf.Tensor,
        example_ids: tf.Tensor,
        epoch: tf.Tensor | int = 0,
    ) -> Masked:
        """Masks a batch."""
        keys = stateless.row_keys(self._seed, epoch, example_ids)
        budget = self._budget(num_tokens)
        maskable = ~tf.gather(self._is_special, token_ids)
        maskable &= tf.sequence_mask(num_tokens, self._seq_length)
        if self._config.unit == "token":
            selected = self._select_tokens(keys, maskable, budget)
        else:
            starts = self._unit_starts(keys, token_ids, maskable)
            selected = self._select_units(keys, maskable, starts, budget)
        return self._replace(keys, token_ids, selected)

    def _budget(self, num_tokens: tf.Tensor) -> tf.Tensor:
        # float64, as Python's round() in the published code.
        wanted = tf.cast(num_tokens, tf.float64) * self._config.rate
        wanted = tf.cast(tf.round(wanted), tf.int32)
        return tf.clip_by_value(wanted, 1, self._num_slots)

    def _order(self, keys: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Random order scores int64 [B, T], -1 where not valid."""
        bits = stateless.draw(keys, _ORDER, self._seq_length)
        scores = tf.cast(tf.bitwise.right_shift(bits, np.uint64(1)), tf.int64)
        return tf.where(valid, scores, np.int64(-1))

    def _select_tokens(
        self, keys: tf.Tensor, maskable: tf.Tensor, budget: tf.Tensor
    ) -> tf.Tensor:
        scores = self._order(keys, maskable)
        best = tf.math.top_k(scores, self._num_slots).values  # [B, P]
        threshold = tf.gather(best, budget - 1, batch_dims=1)[:, tf.newaxis]
        return maskable & (scores >= threshold)

    def _unit_starts(
        self, keys: tf.Tensor, token_ids: tf.Tensor, maskable: tf.Tensor
    ) -> tf.Tensor:
        """Where the pieces masked together begin: bool [B, T]."""
        after_special = ~tf.pad(maskable[:, :-1], [[0, 0], [1, 0]])
        word_start = ~tf.gather(self._is_continuation, token_ids)
        # A segment cut inside a word begins with its continuation pieces.
        word_start = maskable & (word_start | after_special)
        if self._config.unit == "whole_word":
            return word_start
        # The row's words are divided into spans of independent sizes. Span
        # and word numbers, not positions, key them.
        sizes = self._span_sizes(keys)
        ends = tf.cumsum(sizes, axis=1)  # [B, T] words
        word = tf.cumsum(tf.cast(word_start, tf.int32), axis=1) - 1
        span = tf.searchsorted(ends, tf.maximum(word, 0), side="right")
        new_span = span != tf.pad(span[:, :-1], [[0, 0], [1, 0]])
        return word_start & (new_span | after_special)

    def _span_sizes(self, keys: tf.Tensor) -> tf.Tensor:
        """Words per span, p(n) proportional to 1/n: int32 [B, T]."""
        chances = 1.0 / np.arange(1, self._config.max_span_words + 1)
        bounds = np.cumsum(chances / chances.sum())[:-1]
        uniform = stateless.to_unit_interval(
            stateless.draw(keys, _SPAN_SIZE, self._seq_length)
        )
        sizes = tf.ones_like(uniform, tf.int32)
        for bound in bounds:
            sizes += tf.cast(uniform >= np.float32(bound), tf.int32)
        return sizes

    def _select_units(
        self,
        keys: tf.Tensor,
        maskable: tf.Tensor,
        starts: tf.Tensor,
        budget: tf.Tensor,
    ) -> tf.Tensor:
        """Takes whole units in random order; one that overflows is skipped."""
        width = self._seq_length
        unit = tf.cumsum(tf.cast(starts, tf.int32), axis=1) - 1  # [B, T]
        unit = tf.maximum(unit, 0)  # special tokens before the first unit
        rows = tf.range(tf.shape(unit)[0])[:, tf.newaxis]
        lengths = tf.math.unsorted_segment_sum(
            tf.cast(maskable, tf.int32),
            unit + rows * width,
            tf.size(unit),
        )
        lengths = tf.reshape(lengths, tf.shape(unit))  # [B, units]
        order = tf.math.top_k(self._order(keys, lengths > 0), width).indices
        taken = _take_in_order(tf.gather(lengths, order, batch_dims=1), budget)
        # Back from the random order to that of the row.
        taken = tf.tensor_scatter_nd_update(
            tf.zeros([tf.size(unit)], tf.bool),
            tf.reshape(order + rows * width, [-1, 1]),
            tf.reshape(taken, [-1]),
        )
        taken = tf.reshape(taken, tf.shape(unit))
        return maskable & tf.gather(taken, unit, batch_dims=1)

    def _replace(
        self, keys: tf.Tensor, token_ids: tf.Tensor, selected: tf.Tensor
    ) -> Masked:
        config = self._config
        bits = stateless.draw(keys, _REPLACEMENT, self._seq_length)
        uniform = stateless.to_unit_interval(bits)
        random_ids = stateless.to_integers(bits, self._vocab_size)
        masks = selected & (uniform < config.mask_share)
        randoms = selected & (uniform >= 1.0 - config.random_share)
        masked_ids = tf.where(randoms, random_ids, token_ids)
        masked_ids = tf.where(masks, self._mask_id, masked_ids)
        # Distance to the end is positive where selected: largest first.
        column = tf.range(self._seq_length)[tf.newaxis]
        distance = tf.where(selected, self._seq_length - column, 0)
        distance = tf.math.top_k(distance, self._num_slots).values  # [B, P]
        used = distance > 0
        positions = tf.where(used, self._seq_length - distance, 0)
        labels = tf.gather(token_ids, positions, batch_dims=1)
        return Masked(
            token_ids=masked_ids,
            positions=positions,
            labels=tf.where(used, labels, 0),
            weights=tf.cast(used, tf.float32),
        )


def _take_in_order(lengths: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
    """Exact greedy choice, without a loop over the units.

    Each pass takes the longest run of open units that fits; what is longer
    than the budget left can never fit again. Rows need two or three passes.

    Args:
        lengths: int32 [B, units] in the order to try; 0 = no unit.
        budget: int32 [B].

    Returns:
        bool [B, units]: taken.
    """

    def any_open(
        is_open: tf.Tensor, taken: tf.Tensor, left: tf.Tensor
    ) -> tf.Tensor:
        del taken, left
        return tf.reduce_any(is_open)

    def take_run(
        is_open: tf.Tensor, taken: tf.Tensor, left: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        filled = tf.cumsum(tf.where(is_open, lengths, 0), axis=1)
        fits = is_open & (filled <= left)
        left -= tf.reduce_sum(tf.where(fits, lengths, 0), axis=1, keepdims=True)
        is_open = is_open & ~fits & (lengths <= left)
        return is_open, taken | fits, left

    is_open = lengths > 0
    _, taken, _ = tf.while_loop(
        any_open,
        take_run,
        (is_open, tf.zeros_like(is_open), budget[:, tf.newaxis]),
    )
    return taken
