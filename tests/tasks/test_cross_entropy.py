"""Cross-entropy sums against TensorFlow's own op and an argmax."""

import numpy as np
import tensorflow as tf

from tfllm.tasks.cross_entropy import cross_entropy_sums


def test_equals_the_op_and_its_gradient() -> None:
    rng = np.random.RandomState(0)
    logits = tf.constant(8.0 * rng.randn(2, 5, 11), tf.float32)
    labels = tf.constant(rng.randint(0, 11, (2, 5)), tf.int32)
    weights = tf.constant(rng.rand(2, 5), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        loss, hits = cross_entropy_sums(labels, logits, weights)
        expected = tf.reduce_sum(
            weights
            * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(loss, logits), tape.gradient(expected, logits), atol=1e-6
    )
    found = tf.argmax(logits, axis=-1, output_type=tf.int32) == labels
    np.testing.assert_allclose(
        hits, tf.reduce_sum(tf.cast(found, tf.float32) * weights), rtol=1e-6
    )


def test_large_logits_stay_finite() -> None:
    logits = tf.constant([[1e4, 0.0, -1e4]])
    loss, hits = cross_entropy_sums(
        tf.constant([1]), logits, tf.constant([1.0])
    )
    np.testing.assert_allclose(loss, 1e4)
    assert float(hits) == 0.0
