"""Cross-entropy and hits in few passes over the logits."""

from typing import Any

import tensorflow as tf


def check_smoothing(share: float) -> float:
    """Returns a share of label smoothing; raises ValueError outside [0, 1)."""
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

    A hit is a label whose logit is the largest. Over a vocabulary the
    passes over the logits are what counts: the maximum serves both sums, the
    exponentials both directions.

    Args:
        labels: int32 [...].
        logits: float32 [..., V].
        weights: float32 [...].
        label_smoothing: Share of the target that goes to all V alike.

    Returns:
        Two float32 scalars; the first, in nats, has a gradient for the
        logits.
    """
    num_classes = logits.shape[-1] or tf.shape(logits)[-1]
    flat_labels = tf.reshape(labels, [-1])
    flat_weights = tf.reshape(weights, [-1])

    @tf.custom_gradient
    def sums(flat: tf.Tensor) -> Any:
        largest = tf.reduce_max(flat, axis=-1, keepdims=True)
        exponentials = tf.exp(flat - largest)
        totals = tf.reduce_sum(exponentials, axis=-1, keepdims=True)
        chosen = tf.gather(flat, flat_labels, batch_dims=1)
        losses = tf.math.log(totals[:, 0]) + largest[:, 0] - chosen
        if label_smoothing:
            mean = tf.reduce_mean(flat, axis=-1)
            losses += label_smoothing * (chosen - mean)
        hits = tf.cast(chosen >= largest[:, 0], tf.float32)

        def gradient(d_loss: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            scale = flat_weights * d_loss
            softmax = exponentials * (scale[:, tf.newaxis] / totals)
            rows = tf.range(tf.shape(flat_labels)[0])
            if label_smoothing:
                share = label_smoothing / tf.cast(num_classes, tf.float32)
                softmax -= share * scale[:, tf.newaxis]
            return tf.tensor_scatter_nd_sub(
                softmax,
                tf.stack([rows, flat_labels], axis=1),
                (1.0 - label_smoothing) * scale,
            )

        return (
            tf.reduce_sum(losses * flat_weights),
            tf.reduce_sum(hits * flat_weights),
        ), gradient

    return sums(tf.reshape(tf.cast(logits, tf.float32), [-1, num_classes]))
