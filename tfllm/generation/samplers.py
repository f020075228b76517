"""Sampling: filters (top-k, top-p, min-p, typical) and random draws."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfllm import stateless
from tfllm.generation.config import GenerationConfig
from tfllm.generation.processors import NEGATIVE_INFINITY

Filter = Callable[[tf.Tensor], tf.Tensor]
# A shift that puts bits 16 to 39 where `to_unit_interval` reads.
_LOW_BITS = np.uint64(24)


def create_filters(config: GenerationConfig) -> list[Filter]:
    """Creates the filters of a config, in the order of Transformers.

    NOTE: with beams they keep at least one token more than there are
    `eos_token_id`, so that a beam can continue, as in Transformers.
    """
    if not config.do_sample:
        return []
    least = max(2, 1 + len(config.eos_token_id)) if config.num_beams > 1 else 1
    filters: list[Filter] = []
    if config.temperature != 1.0:
        filters.append(lambda scores: scores / config.temperature)
    if config.top_k:
        k = max(config.top_k, least)
        filters.append(lambda scores: top_k(scores, k))
    if config.top_p < 1.0:
        filters.append(lambda scores: top_p(scores, config.top_p, least))
    if config.min_p:
        filters.append(lambda scores: min_p(scores, config.min_p, least))
    if config.typical_p < 1.0:
        filters.append(lambda scores: typical(scores, config.typical_p, least))
    return filters


def top_k(scores: tf.Tensor, k: int) -> tf.Tensor:
    """Keeps the k best tokens, and tokens that equal the last of them.

    Args:
        scores: float [R, V].
        k: Number of tokens, at least 1.
    """
    best = tf.math.top_k(scores, min(k, scores.shape[1])).values
    return tf.where(scores < best[:, -1:], NEGATIVE_INFINITY, scores)


def top_p(scores: tf.Tensor, p: float, least: int = 1) -> tf.Tensor:
    """Keeps the fewest tokens whose probabilities add up to p.

    Args:
        scores: float [R, V].
        p: Sum of the probabilities, above 0.
        least: Smallest number of tokens to keep.

    Reference: Holtzman et al., 2020, section 3.1.
    """
    order = tf.argsort(scores, axis=1, stable=True)  # ascending
    rising = tf.gather(scores, order, batch_dims=1)
    below = tf.cumsum(tf.nn.softmax(rising), axis=1)
    last = tf.range(scores.shape[1]) >= scores.shape[1] - least
    drops = (below <= 1.0 - p) & ~last
    return tf.where(_unsorted(drops, order), NEGATIVE_INFINITY, scores)


def min_p(scores: tf.Tensor, p: float, least: int = 1) -> tf.Tensor:
    """Drops tokens below a share of the largest probability.

    Args:
        scores: float [R, V].
        p: The share.
        least: Smallest number of tokens to keep.

    Reference: Nguyen et al., 2024, section 3.
    """
    probabilities = tf.nn.softmax(scores)
    best = tf.math.top_k(probabilities, min(least, scores.shape[1])).values
    limit = tf.minimum(p * best[:, :1], best[:, -1:])
    return tf.where(probabilities < limit, NEGATIVE_INFINITY, scores)


def typical(scores: tf.Tensor, p: float, least: int = 1) -> tf.Tensor:
    """Keeps the tokens whose information is nearest to the entropy.

    Args:
        scores: float [R, V].
        p: Sum of the probabilities.
        least: Smallest number of tokens to keep.

    Reference: Meister et al., 2023, section 3.
    """
    logs = tf.nn.log_softmax(scores)
    probabilities = tf.exp(logs)
    information = tf.where(probabilities > 0.0, -logs * probabilities, 0.0)
    entropy = tf.reduce_sum(information, axis=1, keepdims=True)
    distance = tf.abs(-logs - entropy)
    order = tf.argsort(distance, axis=1, stable=True)
    nearest = tf.gather(probabilities, order, batch_dims=1)
    below = tf.cumsum(nearest, axis=1) < p
    count = tf.reduce_sum(tf.cast(below, tf.int32), axis=1)
    count = tf.minimum(count, scores.shape[1] - 1)
    rising = tf.gather(distance, order, batch_dims=1)
    limit = tf.gather(rising, count[:, None], batch_dims=1)
    first = tf.range(scores.shape[1]) < least
    drops = (rising > limit) & ~first
    return tf.where(_unsorted(drops, order), NEGATIVE_INFINITY, scores)


def draw(
    scores: tf.Tensor, seed: tf.Tensor, rows: tf.Tensor, step: tf.Tensor
) -> tf.Tensor:
    """Draws one token per row.

    Args:
        scores: float32 [R, V].
        seed: int64 scalar.
        rows: int64 [R], numbers of the rows. The draws of a row depend only on
            its number, the seed and the step.
        step: int32 scalar.

    Returns:
        int32 [R].
    """
    return draw_from(tf.nn.softmax(scores), seed, rows, step)


def draw_from(
    probabilities: tf.Tensor,
    seed: tf.Tensor,
    rows: tf.Tensor,
    step: tf.Tensor,
    stream: int = 0,
) -> tf.Tensor:
    """Draws one token per row from probabilities.

    Args:
        probabilities: float32 [R, V].
        seed: As in `draw`.
        rows: As in `draw`.
        step: As in `draw`.
        stream: Number of the stream of random numbers.

    Returns:
        int32 [R].
    """
    point = uniform(seed, rows, step, stream)
    rising = tf.cumsum(probabilities, axis=1)
    # Scaled, because rounding makes the sum differ from 1.
    below = rising <= point[:, None] * rising[:, -1:]
    token = tf.reduce_sum(tf.cast(below, tf.int32), axis=1)
    # Rounding must not draw a token behind the last one of probability > 0.
    size = probabilities.shape[1]
    possible = tf.where(probabilities > 0.0, tf.range(size), 0)
    return tf.minimum(token, tf.reduce_max(possible, axis=1))


def uniform(
    seed: tf.Tensor, rows: tf.Tensor, step: tf.Tensor, stream: int = 0
) -> tf.Tensor:
    """Returns random numbers in [0, 1) of seed, row and step, float32 [R]."""
    keys = _keys(seed, rows, step)
    return stateless.to_unit_interval(stateless.draw(keys, stream, 1))[:, 0]


def draw_several(
    scores: tf.Tensor,
    count: int,
    seed: tf.Tensor,
    rows: tf.Tensor,
    step: tf.Tensor,
) -> tf.Tensor:
    """Draws columns without replacement, in the order of the draws.

    Args:
        scores: float32 [B, C], logarithms of weights.
        count: Number of draws, K.
        seed: As in `draw`.
        rows: As in `draw`, [B].
        step: As in `draw`.

    Returns:
        int32 [B, K].

    Reference: Vieira, 2014, "Gumbel-max trick and weighted reservoir
    sampling"; Kool et al., 2019, section 2.3.
    """
    bits = stateless.draw(_keys(seed, rows, step), 0, scores.shape[1])
    high = stateless.to_unit_interval(bits)
    # More bits, so that small numbers are as fine as large ones.
    low = stateless.to_unit_interval(tf.bitwise.left_shift(bits, _LOW_BITS))
    point = tf.clip_by_value(high + low * 2.0**-24, 2.0**-49, 1.0 - 2.0**-24)
    noise = -tf.math.log(-tf.math.log1p(-point))
    return tf.math.top_k(scores + noise, count).indices


def _keys(seed: tf.Tensor, rows: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Returns uint64 [R], the key of each row's draws in a step."""
    # The low half of the seed joins the row, the high half the step.
    high = seed - seed % 2**32
    return stateless.row_keys(
        0, tf.cast(step, tf.int64) + high, seed * 2**32 + rows
    )


def _unsorted(values: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """Restores the order of sorted columns, [R, V]."""
    return tf.gather(values, tf.argsort(order, axis=1), batch_dims=1)
