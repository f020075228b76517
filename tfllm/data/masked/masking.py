"""Draws the masks of masked language models, by TensorFlow ops on batches.

The same ops draw dynamic masks in `tf.data` and static masks for prepared
shards. Masks are a function of (seed, epoch, example id, place in the row),
whatever the batch size, the order or the number of workers.

References: Devlin et al., 2019, section 3.1 and its repository (token,
whole_word); Lan et al., 2020, section 3.1 (span).
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm import stateless
from tfllm.data.masked.config import MaskingConfig
from tfllm.tokenizers.text_tokenizer import Tokenizer

# Streams of `stateless.draw`.
_ORDER, _SPAN_SIZE, _REPLACEMENT, _CHOICE = range(4)


class Masked(NamedTuple):
    """A masked batch.

    Args:
        token_ids: int32 [B, T], with masks applied.
        positions: int32 [B, P], ascending; 0 in unused slots.
        labels: int32 [B, P], original ids; 0 in unused slots.
        weights: float32 [B, P], 1 in used slots, 0 in unused ones.
    """

    token_ids: tf.Tensor
    positions: tf.Tensor
    labels: tf.Tensor
    weights: tf.Tensor


class Masker:
    """Draws masks for batches of one width.

    Args:
        config: Settings of the masks.
        tokenizer: Tokenizer of the ids, with a mask token.
        seq_length: Tokens of a padded row, T.
        seed: Seed of all random choices.

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
        self._config = config
        self._seq_length = seq_length
        self._num_slots = config.num_slots(seq_length)
        self._seed = seed
        self._mask_id = tokenizer.role_id("mask")
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
        budget = self._budget(num_tokens)  # [B]
        maskable = ~tf.gather(self._is_special, token_ids)  # [B, T]
        maskable &= tf.sequence_mask(num_tokens, self._seq_length)
        if self._config.unit == "token":
            selected = self._select_tokens(keys, maskable, budget)
        else:
            starts = self._unit_starts(keys, token_ids, maskable)
            selected = self._select_units(keys, maskable, starts, budget)
        return self._replace(keys, token_ids, selected)

    def choices(
        self, example_ids: tf.Tensor, epoch: tf.Tensor | int = 0
    ) -> tf.Tensor:
        """Returns random numbers with which a model chooses among tokens.

        Args:
            example_ids: As in the call.
            epoch: As in the call.

        Returns:
            int32 [B, T], uniform from 0 to 2 ** 24 - 1.
        """
        keys = stateless.row_keys(self._seed, epoch, example_ids)
        bits = stateless.draw(keys, _CHOICE, self._seq_length)
        return tf.cast(tf.bitwise.right_shift(bits, np.uint64(40)), tf.int32)

    def _budget(self, num_tokens: tf.Tensor) -> tf.Tensor:
        """Returns the tokens to mask in each row, int32 [B]."""
        # float64, as Python's round() in the published code.
        share = tf.cast(num_tokens, tf.float64) * self._config.rate
        count = tf.cast(tf.round(share), tf.int32)
        return tf.clip_by_value(count, 1, self._num_slots)

    def _order(self, keys: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Returns random scores to order by, int64 [B, T]; -1 if not valid."""
        bits = stateless.draw(keys, _ORDER, self._seq_length)
        scores = tf.cast(tf.bitwise.right_shift(bits, np.uint64(1)), tf.int64)
        return tf.where(valid, scores, np.int64(-1))

    def _select_tokens(
        self, keys: tf.Tensor, maskable: tf.Tensor, budget: tf.Tensor
    ) -> tf.Tensor:
        """Selects single tokens at random, bool [B, T]."""
        scores = self._order(keys, maskable)
        best = tf.math.top_k(scores, self._num_slots).values  # [B, P]
        threshold = tf.gather(best, budget - 1, batch_dims=1)[:, tf.newaxis]
        return maskable & (scores >= threshold)

    def _unit_starts(
        self, keys: tf.Tensor, token_ids: tf.Tensor, maskable: tf.Tensor
    ) -> tf.Tensor:
        """Returns where units, tokens masked together, begin: bool [B, T]."""
        after_special = ~tf.pad(maskable[:, :-1], [[0, 0], [1, 0]])
        word_start = ~tf.gather(self._is_continuation, token_ids)
        # A segment may begin inside a word, with continuation pieces.
        word_start = maskable & (word_start | after_special)
        if self._config.unit == "whole_word":
            return word_start
        # The words of a row are divided into spans of independent sizes, keyed
        # by span and word numbers instead of positions.
        sizes = self._span_sizes(keys)
        ends = tf.cumsum(sizes, axis=1)  # [B, T] words
        word = tf.cumsum(tf.cast(word_start, tf.int32), axis=1) - 1
        span = tf.searchsorted(ends, tf.maximum(word, 0), side="right")
        new_span = span != tf.pad(span[:, :-1], [[0, 0], [1, 0]])
        return word_start & (new_span | after_special)

    def _span_sizes(self, keys: tf.Tensor) -> tf.Tensor:
        """Returns words per span, p(n) proportional to 1/n: int32 [B, T]."""
        shares = 1.0 / np.arange(1, self._config.max_span_words + 1)
        bounds = np.cumsum(shares / shares.sum())[:-1]
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
        """Selects whole units in random order, bool [B, T].

        Units that exceed the budget are skipped.
        """
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
        # From the random order back to that of the row.
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
        """Replaces the selected tokens, and gathers their labels."""
        config = self._config
        bits = stateless.draw(keys, _REPLACEMENT, self._seq_length)
        uniform = stateless.to_unit_interval(bits)
        random_ids = stateless.to_integers(bits, self._vocab_size)
        masks = selected & (uniform < config.mask_share)
        randoms = selected & (uniform >= 1.0 - config.random_share)
        masked_ids = tf.where(randoms, random_ids, token_ids)
        masked_ids = tf.where(masks, self._mask_id, masked_ids)
        # Distance to the end, largest first: positive only where selected.
        column = tf.range(self._seq_length)[tf.newaxis]  # [1, T]
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
    """Takes units in order while they fit, without a loop over units.

    Each pass takes the longest run of open units that fits; units longer than
    the rest of the budget can never fit. Rows need two or three passes.

    Args:
        lengths: int32 [B, units], in the order to try; 0 for no unit.
        budget: int32 [B], tokens to take.

    Returns:
        bool [B, units], whether each unit is taken.
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
