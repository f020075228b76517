"""Tests of tools.peers.matrix_products."""

import pytest
import tensorflow as tf

from tools.peers import matrix_products


def test_products_of_a_training_step() -> None:
    """Two products forward, three backward; called functions count."""
    weights = tf.Variable(tf.ones([5, 7]))

    @tf.function(autograph=False)
    def forward(x: tf.Tensor) -> tf.Tensor:
        return tf.einsum("bd,de->be", x, weights)

    @tf.function(autograph=False)
    def step(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(
                tf.square(tf.matmul(forward(x), tf.ones([7, 2])))
            )
        return tape.gradient(loss, [x, weights])

    traced = step.get_concrete_function(tf.TensorSpec([3, 5]))
    found = matrix_products.count_products(traced.graph)
    equations = {
        dict(attributes)["equation"].decode()
        for op, attributes, _ in found
        if op == "Einsum"
    }
    assert equations == {"bd,de->be", "be,de->bd", "be,bd->de"}
    assert sum(found.values()) == 5  # the constant has no gradient
    assert (("float32", (3, 7)), ("float32", (7, 2))) in {
        operands for op, _, operands in found if op == "MatMul"
    }
    assert matrix_products.seconds_of_products(traced) > 0


def test_unknown_shapes() -> None:
    function = tf.function(lambda x: tf.matmul(x, x), autograph=False)
    traced = function.get_concrete_function(tf.TensorSpec([None, None]))
    with pytest.raises(ValueError, match="known shapes"):
        matrix_products.count_products(traced.graph)
