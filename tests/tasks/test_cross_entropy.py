"""Cross-entropy sums against TensorFlow's own op and an argmax."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.tasks.cross_entropy import cross_entropy_sums


@pytest.mark.parametrize("classes", [11, 1100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_the_op_and_its_gradient(classes: int, smoothing: float) -> None:
    rng = np.random.RandomState(0)
    logits = tf.constant(8.0 * rng.randn(2, 5, classes), tf.float32)
    labels = tf.constant(rng.randint(0, classes, (2, 5)), tf.int32)
    weights = tf.constant(rng.rand(2, 5), tf.float32)
    targets = tf.one_hot(labels, classes) * (1.0 - smoothing)
    targets += smoothing / classes
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        loss, hits = cross_entropy_sums(labels, logits, weights, smoothing)
        expected = tf.reduce_sum(
            weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits)
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
