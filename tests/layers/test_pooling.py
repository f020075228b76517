"""Poolings and projections against arithmetic in NumPy."""

import math
from typing import Any

import numpy as np
import pytest

from tfllm.layers.fields import from_dict, to_dict
from tfllm.layers.pooling import POOLINGS, Projection, ProjectionConfig

# Two rows of three tokens of two numbers; the second has two tokens.
X = np.array(
    [[[1, 2], [3, -4], [5, 0]], [[-6, 8], [2, -4], [90, 90]]], "float32"
)
MASK = np.array([[1, 1, 1], [1, 1, 0]], "int32")
EXPECTED = {
    "mean": [[3, -2 / 3], [-2, 2]],
    "cls": [[1, 2], [-6, 8]],
    "last": [[5, 0], [2, -4]],
    "max": [[5, 2], [2, 8]],
    "mean_sqrt_len": [
        [9 / math.sqrt(3), -2 / math.sqrt(3)],
        [-4 / math.sqrt(2), 4 / math.sqrt(2)],
    ],
    # (1 * 1 + 2 * 3 + 3 * 5) / 6; (1 * -6 + 2 * 2) / 3
    "weighted_mean": [[22 / 6, -6 / 6], [-2 / 3, 0]],
}


def test_every_pooling_is_here() -> None:
    assert EXPECTED.keys() == POOLINGS.keys()


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings(name: Any) -> None:
    pool = POOLINGS[name]
    np.testing.assert_allclose(pool(X, MASK), EXPECTED[name], atol=1e-6)
    whole = np.array(pool(X[1:, :2], None))
    np.testing.assert_allclose(whole, EXPECTED[name][1:], atol=1e-6)
    if name != "cls":
        # Padding on the left, where the i-th token is the i-th real one.
        left, mask = np.roll(X, 1, axis=1)[1:], np.array([[0, 1, 1]])
        np.testing.assert_allclose(
            pool(left, mask), EXPECTED[name][1:], atol=1e-6
        )


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        # Of 1 * 0.5 + 2 * -1 + 0.25 = -1.25.
        ("identity", -1.25),
        ("tanh", math.tanh(-1.25)),
        ("relu", 0.0),
        ("gelu", -1.25 * 0.5 * (1.0 + math.erf(-1.25 / math.sqrt(2.0)))),
        ("silu", -1.25 / (1.0 + math.exp(1.25))),
        ("sigmoid", 1.0 / (1.0 + math.exp(1.25))),
    ],
)
def test_projection(activation: Any, expected: float) -> None:
    layer = Projection(ProjectionConfig(2, 1, activation))
    layer.build()
    layer.linear.kernel.assign([[0.5], [-1.0]])
    layer.linear.bias.assign([0.25])
    found = np.array(layer(np.array([[1.0, 2.0]], "float32")))
    np.testing.assert_allclose(found, [[expected]], atol=1e-6)


def test_projection_without_bias() -> None:
    config = ProjectionConfig(2, 3, "identity", use_bias=False)
    assert from_dict(ProjectionConfig, to_dict(config)) == config
    layer = Projection(config)
    layer.build()
    assert [v.shape for v in layer.weights] == [(2, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "`input_size`.*Received: 0"),
        ((2, 1.5), "`output_size`.*Received: 1.5"),
        ((2, 1, "mish"), "`activation` must be one of.*'mish'"),
        ((2, 1, "tanh", 1), "`use_bias`.*Received: 1"),
    ],
)
def test_projections_that_cannot_be(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProjectionConfig(*arguments)
