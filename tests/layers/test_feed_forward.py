import math
from typing import Any

import numpy as np
import pytest
from keras import ops

from tfllm.layers import FeedForward, FeedForwardConfig

ERF = np.vectorize(math.erf)
NUMPY = {
    "gelu": lambda x: 0.5 * x * (1 + ERF(x / np.sqrt(2))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    ),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def build(**options: Any) -> FeedForward:
    layer = FeedForward(FeedForwardConfig(4, 9, **options))
    layer.build()
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return layer


def affine(layer: Any, x: np.ndarray) -> np.ndarray:
    y = x @ np.asarray(layer.kernel.value)
    return y if layer.bias is None else y + np.asarray(layer.bias.value)


X = np.random.default_rng(1).normal(size=(2, 3, 4)).astype("float32")


@pytest.mark.parametrize("activation", NUMPY)
def test_equals_numpy(activation: str) -> None:
    layer = build(activation=activation)
    expected = affine(layer.down, NUMPY[activation](affine(layer.up, X)))
    y = ops.convert_to_numpy(layer(X))
    np.testing.assert_allclose(y, expected, atol=1e-5, rtol=1e-5)


def test_gated_without_bias() -> None:
    layer = build(activation="silu", gated=True, use_bias=False)
    assert len(layer.trainable_variables) == 3
    inner = NUMPY["silu"](affine(layer.gate, X)) * affine(layer.up, X)
    expected = affine(layer.down, inner)
    y = ops.convert_to_numpy(layer(X))
    np.testing.assert_allclose(y, expected, atol=1e-5, rtol=1e-5)


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`activation`.*Received: 'mish'"):
        FeedForwardConfig(4, 9, activation="mish")


def test_dropout_of_the_inner_activations() -> None:
    layer = FeedForward(FeedForwardConfig(4, 200, dropout=0.5))
    layer.build()
    layer.down.kernel.assign(np.full((200, 4), 1.0))
    x = np.ones((1, 1, 4), "float32")
    inner = NUMPY["gelu"](affine(layer.up, x))[0, 0]
    y = ops.convert_to_numpy(layer(x, training=True))[0, 0]
    # A sum of kept values, doubled: neither all of them nor none.
    assert abs(y[0] - inner.sum()) > 1e-3
    assert np.abs(y - y[0]).max() < 1e-4
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(x))[0, 0], inner.sum(), atol=1e-4
    )
