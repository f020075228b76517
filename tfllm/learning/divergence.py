"""Symmetric KL divergence between two predictions, for R-Drop."""

import tensorflow as tf


def symmetric_divergence_sum(
    one: tf.Tensor, other: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Returns the weighted sum of (KL(p || q) + KL(q || p)) / 2.

    Args:
        one: float32 [..., C]: logits of p.
        other: float32 [..., C]: logits of q.
        weights: float32 [...].

    Returns:
        float32 scalar, in nats, with gradients for both.

    NOTE: R-Drop here uses the mean of the two cross-entropies, as the authors'
    code for GLUE. The paper adds them, so its factor is twice ours.

    Reference: Liang et al., 2021, equation 2.
    """
    log_p = tf.nn.log_softmax(tf.cast(one, tf.float32))
    log_q = tf.nn.log_softmax(tf.cast(other, tf.float32))
    apart = (tf.exp(log_p) - tf.exp(log_q)) * (log_p - log_q)
    return tf.reduce_sum(0.5 * tf.reduce_sum(apart, axis=-1) * weights)
