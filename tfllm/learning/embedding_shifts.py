"""Adversarial shifts of the token embeddings: FGM and FreeLB.

A shift is float32 [B, ..., T, D], added to the token embeddings before
positions and normalization. Norms are per example, over all its tokens, so that
they do not depend on other examples or on how a batch is split.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm.learning.learner import Pass, Tensors

# Computes a batch with a shift.
Backward = Callable[[tf.Tensor], Pass]


def real_tokens(x: Tensors) -> tf.Tensor:
    """Returns 1 for real tokens, 0 for padding and missing choices.

    Args:
        x: Features by name.

    Returns:
        float32 [B, ..., T, 1].
    """
    ids, mask = "token_ids", "padding_mask"
    if "source_ids" in x:
        # The embeddings that are shifted are those of the encoder.
        ids, mask = "source_ids", "source_mask"
    real = x.get(mask, tf.ones_like(x[ids]))
    if "choice_mask" in x:
        # [B, C] -> [B, C, 1]
        real *= tf.cast(x["choice_mask"], real.dtype)[..., tf.newaxis]
    return tf.cast(real, tf.float32)[..., tf.newaxis]  # [B, ..., T, 1]


def no_shift(mask: tf.Tensor, size: int) -> tf.Tensor:
    """Returns zeros, float32 [B, ..., T, D].

    Args:
        mask: float32 [B, ..., T, 1], 1 for real tokens.
        size: Width of the embeddings, D.
    """
    return mask * tf.zeros([size])


def random_shift(
    mask: tf.Tensor, size: int, seed: tf.Tensor, norm: float
) -> tf.Tensor:
    """Returns random shifts of a limited norm.

    Args:
        mask: float32 [B, ..., T, 1], 1 for real tokens.
        size: Width of the embeddings, D.
        seed: int [2], seed of the random numbers.
        norm: Largest norm of an example.

    Returns:
        float32 [B, ..., T, D].
    """
    shape = tf.concat([tf.shape(mask)[:-1], [size]], axis=0)
    noise = tf.ensure_shape(
        tf.random.stateless_uniform(shape, seed, -1.0, 1.0),
        [*mask.shape[:-1], size],
    )
    axes = _all_but_first(mask)
    numbers = float(size) * tf.reduce_sum(mask, axes, keepdims=True)
    scale = norm * tf.math.rsqrt(tf.maximum(numbers, 1.0))
    return noise * mask * scale


def fast_gradient(
    backward: Backward, start: tf.Tensor, mask: tf.Tensor, epsilon: float
) -> Pass:
    """Returns the gradients of a batch plus those of the shifted batch: FGM.

    Args:
        backward: Computes the batch with a shift.
        start: What `no_shift` returned.
        mask: float32 [B, ..., T, 1].
        epsilon: Norm of the shift of an example.

    Returns:
        The sum of both gradients, and the sums without a shift.

    Reference: Miyato et al., 2017, section 3.
    """
    first = backward(start)
    shift = epsilon * _unit(first.slope * mask)
    second = backward(tf.stop_gradient(shift))
    both = zip(first.gradients, second.gradients, strict=True)
    return Pass([a + b for a, b in both], first.sums)


def free_large_batch(
    backward: Backward,
    start: tf.Tensor,
    mask: tf.Tensor,
    steps: int,
    step_size: float,
    epsilon: float,
) -> Pass:
    """Returns the mean gradients of ascent steps from a random shift: FreeLB.

    Args:
        backward: Computes the batch with a shift.
        start: What `random_shift` returned.
        mask: float32 [B, ..., T, 1].
        steps: Number of ascent steps.
        step_size: Norm of an ascent step.
        epsilon: Largest norm of the shift of an example; 0 for no limit.

    Returns:
        Means of gradients and sums over the steps.

    Reference: Zhu et al., 2020, algorithm 1.
    """
    first = backward(start)
    shares = tf.nest.map_structure(
        lambda v: v / steps, (first.gradients, first.sums)
    )
    if steps == 1:
        return Pass(*shares)

    def climb(shift: Any, slope: Any) -> Any:
        shift = shift + step_size * _unit(slope)
        if epsilon:
            # Back into the ball.
            shift = shift * (epsilon / tf.maximum(_norm(shift), epsilon))
        return tf.stop_gradient(shift)

    def body(step: Any, shift: Any, slope: Any, flat: list[Any]) -> Any:
        shift = climb(shift, slope * mask)
        gradients, sums, slope = backward(shift)
        flat = [
            total + value / steps
            for total, value in zip(
                flat, tf.nest.flatten((gradients, sums)), strict=True
            )
        ]
        return step + 1, shift, slope, flat

    # One loop in the graph: the steps are traced once.
    *_, flat = tf.while_loop(
        lambda step, *_: step < steps,
        body,
        (tf.constant(1), start, first.slope, tf.nest.flatten(shares)),
        parallel_iterations=1,
    )
    return Pass(*tf.nest.pack_sequence_as(shares, flat))


def _norm(x: tf.Tensor) -> tf.Tensor:
    """Returns the norm of each example, float32 [B, 1, ...]."""
    squares = tf.reduce_sum(tf.square(x), _all_but_first(x), keepdims=True)
    return tf.sqrt(squares)


def _all_but_first(x: tf.Tensor) -> list[int]:
    """Returns all axes but that of the batch."""
    return list(range(1, x.shape.rank))


def _unit(x: tf.Tensor) -> tf.Tensor:
    """Scales each example to norm 1; zero stays zero."""
    # First scale to a largest element of 1: squares of float32 underflow.
    largest = tf.reduce_max(tf.abs(x), _all_but_first(x), keepdims=True)
    x = tf.math.divide_no_nan(x, largest)
    return tf.math.divide_no_nan(x, _norm(x))
