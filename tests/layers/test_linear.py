import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tfllm.layers import Linear


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (2, 4, 5, 3)])
def test_equals_numpy(shape: tuple[int, ...]) -> None:
    layer = Linear(3, 7)
    layer.build()
    rng = np.random.default_rng(0)
    layer.bias.assign(rng.normal(size=7))
    x = rng.normal(size=shape).astype("float32")
    expected = x @ np.asarray(layer.kernel.value) + np.asarray(layer.bias.value)
    y = ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("width", [7, 512])
def test_gradients_in_training_equal_numpy(width: int) -> None:
    layer = Linear(3, width)
    layer.build()
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(2, 5, n)).astype("float32") for n in (3, width))
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = tf.reduce_sum(layer(inputs, training=True) * dy)
    sources = [inputs, layer.kernel.value, layer.bias.value]
    d_x, d_kernel, d_bias = tape.gradient(value, sources)
    kernel = np.asarray(layer.kernel.value)
    np.testing.assert_allclose(d_x, dy @ kernel.T, atol=1e-4)
    np.testing.assert_allclose(
        d_kernel, np.einsum("bti,bto->io", x, dy), atol=1e-4
    )
    np.testing.assert_allclose(d_bias, dy.sum((0, 1)), atol=1e-4)


def test_config_round_trip() -> None:
    layer = Linear(3, 7, use_bias=False, initializer_range=0.5, name="x")
    config = layer.get_config()
    copy = Linear.from_config(config)
    assert copy.get_config() == config
    copy.build()
    assert [tuple(v.shape) for v in copy.weights] == [(3, 7)]


def test_first_columns_have_their_own_deviation() -> None:
    layer = Linear(200, 300, initializer_range=0.5, first_columns=(100, 0.01))
    layer.build()
    kernel = np.asarray(layer.kernel.value)
    # A normal cut at two deviations has 0.88 of its deviation.
    assert abs(kernel[:, :100].std() - 0.0088) < 0.0005
    assert abs(kernel[:, 100:].std() - 0.44) < 0.01
    copy = Linear.from_config(layer.get_config())
    assert copy.first_columns == (100, 0.01)
