"""Fused cross-entropy and accuracy over large vocabularies."""

from typing import Any

import tensorflow as tf

from tfllm.layers.fused import fused, on_cpu


def check_smoothing(share: float) -> float:
    """Returns the label smoothing; raises ValueError outside [0, 1)."""
    if not 0.0 <= share < 1.0:
        raise ValueError(
            "`label_smoothing` must be at least 0 and below 1. "
            f"Received: {share}"
        )
    return float(share)


def cross_entropy_sums(
    labels: tf.Tensor,
    logits: tf.Tensor,
    weights: tf.Tensor,
    label_smoothing: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the weighted sums of the cross-entropy and of the hits.

    A hit is a label whose logit is the largest. The time goes into passes
    over the logits, so both sums share the maximum, and the forward and
    backward passes share the exponentials.

    Args:
        labels: int32 [...].
        logits: float32 [..., V].
        weights: float32 [...].
        label_smoothing: Share of the target that is spread evenly over all V.

    Returns:
        Two float32 scalars. Only the first, in nats, has a gradient.
    """
    num_classes = logits.shape[-1] or tf.shape(logits)[-1]
    # Compiling takes time for each shape; it does not pay for few classes.
    fuses = on_cpu() and (logits.shape[-1] or 0) >= 1024
    flat_labels = tf.reshape(labels, [-1])  # [R], for R labels
    flat_weights = tf.reshape(weights, [-1])  # [R]

    @tf.custom_gradient
    def sums(flat: tf.Tensor) -> Any:  # [R, V]
        largest = tf.reduce_max(flat, axis=-1, keepdims=True)  # [R, 1]
        exponentials = (fused(_exponentials) if fuses else _exponentials)(
            flat, largest
        )
        totals = tf.reduce_sum(exponentials, axis=-1, keepdims=True)  # [R, 1]
        chosen = tf.gather(flat, flat_labels, batch_dims=1)  # [R]
        losses = tf.math.log(totals[:, 0]) + largest[:, 0] - chosen
        if label_smoothing:
            mean = tf.reduce_mean(flat, axis=-1)
            losses += label_smoothing * (chosen - mean)
        hits = tf.cast(chosen >= largest[:, 0], tf.float32)

        def gradient(d_loss: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            scale = flat_weights * d_loss
            factors = scale[:, tf.newaxis] / totals
            share = label_smoothing / tf.cast(num_classes, tf.float32)
            uniform = (share * scale)[:, tf.newaxis]
            at_labels = (1.0 - label_smoothing) * scale
            if fuses:
                return fused(_gradient_of_many)(
                    exponentials,
                    factors,
                    uniform,
                    at_labels[:, tf.newaxis],
                    flat_labels[:, tf.newaxis],
                )
            softmax = exponentials * factors
            if label_smoothing:
                softmax -= uniform
            rows = tf.range(tf.shape(flat_labels)[0])
            return tf.tensor_scatter_nd_sub(
                softmax, tf.stack([rows, flat_labels], axis=1), at_labels
            )

        return (
            tf.reduce_sum(losses * flat_weights),
            tf.reduce_sum(hits * flat_weights),
        ), gradient

    return sums(tf.reshape(tf.cast(logits, tf.float32), [-1, num_classes]))


def _exponentials(logits: tf.Tensor, largest: tf.Tensor) -> tf.Tensor:
    return tf.exp(logits - largest)


def _gradient_of_many(
    exponentials: tf.Tensor,
    factors: tf.Tensor,
    uniform: tf.Tensor,
    at_labels: tf.Tensor,
    labels: tf.Tensor,
) -> tf.Tensor:
    """Returns the gradient of the logits, [R, V]; other inputs are [R, 1]."""
    classes = tf.range(tf.shape(exponentials)[1], dtype=labels.dtype)
    targets = tf.where(classes == labels, at_labels, 0.0)
    return exponentials * factors - uniform - targets
