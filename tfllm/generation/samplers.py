"""Choosing a token from scores: the best one, or a filtered draw."""

from collections.abc import Callable

import tensorflow as tf

from tfllm import stateless
from tfllm.generation.config import GenerationConfig
from tfllm.generation.processors import NEGATIVE_INFINITY

Filter = Callable[[tf.Tensor], tf.Tensor]


def create_filters(config: GenerationConfig) -> list[Filter]:
    """Returns the filters of a draw, in published order."""
    if not config.do_sample:
        return []
    found: list[Filter] = []
    if config.temperature != 1.0:
        found.append(lambda scores: scores / config.temperature)
    if config.top_k:
        found.append(lambda scores: top_k(scores, config.top_k))
    if config.top_p < 1.0:
        found.append(lambda scores: top_p(scores, config.top_p))
    if config.min_p:
        found.append(lambda scores: min_p(scores, config.min_p))
    if config.typical_p < 1.0:
        found.append(lambda scores: typical(scores, config.typical_p))
    return found


def top_k(scores: tf.Tensor, k: int) -> tf.Tensor:
    """Keeps the k best tokens, and those equal to the last of them.

    Args:
        scores: float [R, V].
        k: At least 1.
    """
    best = tf.math.top_k(scores, min(k, scores.shape[1])).values
    return tf.where(scores < best[:, -1:], NEGATIVE_INFINITY, scores)


def top_p(scores: tf.Tensor, p: float) -> tf.Tensor:
    """Keeps the fewest tokens that are probable enough together.

    Args:
        scores: float [R, V].
        p: Their probability, above 0.

    Reference: Holtzman et al., 2020, section 3.1.
    """
    order = tf.argsort(scores, axis=1, stable=True)  # ascending
    rising = tf.gather(scores, order, batch_dims=1)
    below = tf.cumsum(tf.nn.softmax(rising), axis=1)
    last = tf.one_hot(scores.shape[1] - 1, scores.shape[1], True, False)
    drops = (below <= 1.0 - p) & ~last
    return tf.where(_unsorted(drops, order), NEGATIVE_INFINITY, scores)


def min_p(scores: tf.Tensor, p: float) -> tf.Tensor:
    """Drops tokens less probable than a share of the best one.

    Args:
        scores: float [R, V].
        p: The share.

    Reference: Nguyen et al., 2024, section 3.
    """
    probabilities = tf.nn.softmax(scores)
    best = tf.reduce_max(probabilities, axis=1, keepdims=True)
    return tf.where(probabilities < p * best, NEGATIVE_INFINITY, scores)


def typical(scores: tf.Tensor, p: float) -> tf.Tensor:
    """Keeps the tokens whose information is nearest to the entropy.

    Args:
        scores: float [R, V].
        p: Their probability together.

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
    first = tf.one_hot(0, scores.shape[1], True, False)
    drops = (rising > limit) & ~first
    return tf.where(_unsorted(drops, order), NEGATIVE_INFINITY, scores)


def draw(
    scores: tf.Tensor, seed: tf.Tensor, rows: tf.Tensor, step: tf.Tensor
) -> tf.Tensor:
    """Draws one token per row.

    Args:
        scores: float32 [R, V].
        seed: int64 scalar.
        rows: int64 [R], numbers of the rows: a row's draws depend on its
            number, the seed and the step, and on nothing else.
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
    """Draws from probabilities, float32 [R, V]; see `draw`."""
    point = uniform(seed, rows, step, stream)
    rising = tf.cumsum(probabilities, axis=1)
    # Scaled: the sum of so many is not quite 1.
    below = rising <= point[:, None] * rising[:, -1:]
    token = tf.reduce_sum(tf.cast(below, tf.int32), axis=1)
    # Behind the last token that has a probability there is none to draw.
    size = probabilities.shape[1]
    possible = tf.where(probabilities > 0.0, tf.range(size), 0)
    return tf.minimum(token, tf.reduce_max(possible, axis=1))


def uniform(
    seed: tf.Tensor, rows: tf.Tensor, step: tf.Tensor, stream: int = 0
) -> tf.Tensor:
    """Returns float32 [R] in [0, 1): a function of seed, row and step."""
    # The low half of the seed goes with the row, the high one with the step.
    high = seed - seed % 2**32
    keys = stateless.row_keys(
        0, tf.cast(step, tf.int64) + high, seed * 2**32 + rows
    )
    return stateless.to_unit_interval(stateless.draw(keys, stream, 1))[:, 0]


def _unsorted(values: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """Puts sorted values [R, V] back where they came from."""
    return tf.gather(values, tf.argsort(order, axis=1), batch_dims=1)
