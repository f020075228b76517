"""Adversarial training: batches whose token embeddings are shifted.

A shift is float32 [B, ..., T, D], added to the token embeddings before
positions and normalization. Its norm is that of an example, over all its
tokens, so that it depends neither on the others nor on how a batch is split.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Shift -> (gradients of the weights, sums, gradient of the shift).
Backward = Callable[[tf.Tensor], tuple[list[tf.Tensor], Any, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Adversarial:
    """How shifts are found.

    Attributes:
        kind: "fgm" (fast gradient method): the batch once more, each
            example shifted by `epsilon` along its gradient; the losses are
            added. "freelb": `steps` ascents from a random shift; the
            gradients of all of them are averaged.
        epsilon: Norm of the shift of an example; for freelb the largest,
            0 for any.
        steps: Ascents of freelb.
        step_size: Norm of an ascent of freelb.
        start_size: Norm, at most, of the random first shift of freelb.

    NOTE: fgm does not normalize the embeddings first, as Miyato et al. do:
    a pretrained model would no longer be itself.

    Reference: Miyato et al., 2017, section 3; Zhu et al., 2020, algorithm 1.
    """

    kind: str
    epsilon: float = 1.0
    steps: int = 3
    step_size: float = 0.1
    start_size: float = 0.1

    def __post_init__(self) -> None:
        """Validates the fields."""
        if self.kind not in ADVERSARIES:
            raise ValueError(
                f"`adversarial` must be one of {sorted(ADVERSARIES)}. "
                f"Received: {self.kind!r}"
            )
        if self.steps < 1:
            raise ValueError(
                "`adversarial_steps` must be at least 1. Received: "
                f"{self.steps}"
            )
        positive = "epsilon" if self.kind == "fgm" else "step_size"
        for name in ("epsilon", "step_size", "start_size"):
            value = getattr(self, name)
            if value < 0.0 or (name == positive and value == 0.0):
                rule = "be positive" if name == positive else "not be negative"
                raise ValueError(
                    f"`adversarial_{name}` must {rule} for {self.kind}. "
                    f"Received: {value}"
                )

    def start(self, mask: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
        """Returns the first shifts.

        Args:
            mask: float32 [B, ..., T, 1], 1 for real tokens.
            size: Width of the embeddings, D.
            seed: int [2]; the numbers of freelb are a function of it.

        Returns:
            float32 [B, ..., T, D].
        """
        if self.kind == "fgm":
            return mask * tf.zeros([size])
        shape = tf.concat([tf.shape(mask)[:-1], [size]], axis=0)
        noise = tf.ensure_shape(
            tf.random.stateless_uniform(shape, seed, -1.0, 1.0),
            [*mask.shape[:-1], size],
        )
        axes = _all_but_first(mask)
        numbers = float(size) * tf.reduce_sum(mask, axes, keepdims=True)
        scale = self.start_size * tf.math.rsqrt(tf.maximum(numbers, 1.0))
        return noise * mask * scale

    def train(
        self, backward: Backward, start: tf.Tensor, mask: tf.Tensor
    ) -> tuple[list[tf.Tensor], Any]:
        """Returns gradients and sums of a batch and its shifted forms.

        Args:
            backward: Computes the batch with a shift.
            start: What `start` returned.
            mask: float32 [B, ..., T, 1].

        Returns:
            Gradients of the weights, and the sums to report: for fgm those
            without a shift, for freelb the mean over the ascents.
        """
        return ADVERSARIES[self.kind](self, backward, start, mask)


def fast_gradient(
    config: Adversarial, backward: Backward, start: tf.Tensor, mask: tf.Tensor
) -> tuple[list[tf.Tensor], Any]:
    """See `Adversarial.train`: the batch, and the batch shifted."""
    gradients, sums, slope = backward(start)
    shift = config.epsilon * _unit(slope * mask)
    others, _, _ = backward(tf.stop_gradient(shift))
    return [a + b for a, b in zip(gradients, others, strict=True)], sums


def free_large_batch(
    config: Adversarial, backward: Backward, start: tf.Tensor, mask: tf.Tensor
) -> tuple[list[tf.Tensor], Any]:
    """See `Adversarial.train`: the mean over ascents from a random shift."""
    first = backward(start)
    shares = [tf.nest.map_structure(lambda v: v / config.steps, first[:2])]

    def body(step: Any, shift: Any, slope: Any, flat: list[Any]) -> Any:
        shift = _climb(config, shift, slope * mask)
        gradients, sums, slope = backward(shift)
        flat = [
            total + value / config.steps
            for total, value in zip(
                flat, tf.nest.flatten((gradients, sums)), strict=True
            )
        ]
        return step + 1, shift, slope, flat

    if config.steps == 1:
        return shares[0]
    # One loop in the graph: the ascents are traced once.
    *_, flat = tf.while_loop(
        lambda step, *_: step < config.steps,
        body,
        (tf.constant(1), start, first[2], tf.nest.flatten(shares[0])),
        parallel_iterations=1,
    )
    return tf.nest.pack_sequence_as(first[:2], flat)


def _climb(config: Adversarial, shift: Any, slope: Any) -> Any:
    """Returns the shift after one ascent, projected into its ball."""
    shift = shift + config.step_size * _unit(slope)
    if config.epsilon:
        norm = _norm(shift)
        shift = shift * (config.epsilon / tf.maximum(norm, config.epsilon))
    return tf.stop_gradient(shift)


def _norm(x: tf.Tensor) -> tf.Tensor:
    """Returns float32 [B, 1, ...]: the norm of each example."""
    squares = tf.reduce_sum(tf.square(x), _all_but_first(x), keepdims=True)
    return tf.sqrt(squares)


def _all_but_first(x: tf.Tensor) -> list[int]:
    """Returns the axes of an example."""
    return list(range(1, x.shape.rank))


def _unit(x: tf.Tensor) -> tf.Tensor:
    """Returns each example at norm 1; zero stays zero."""
    # First to a largest element of 1: squares of float32 vanish early.
    largest = tf.reduce_max(tf.abs(x), _all_but_first(x), keepdims=True)
    x = tf.math.divide_no_nan(x, largest)
    return tf.math.divide_no_nan(x, _norm(x))


ADVERSARIES: dict[str, Callable[..., tuple[list[tf.Tensor], Any]]] = {
    "fgm": fast_gradient,
    "freelb": free_large_batch,
}
