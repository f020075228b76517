"""Gradients written by hand against finite differences in float64."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.layers import hand_gradients

RNG = np.random.RandomState(0)


def gradients(
    function: Callable[..., Any], arguments: list[np.ndarray], dy: np.ndarray
) -> list[np.ndarray]:
    """Returns d sum(dy * function) / d arguments, by the backend."""
    tensors = [ops.convert_to_tensor(a, dtype="float32") for a in arguments]

    def loss(*args: Any) -> Any:
        return ops.sum(function(*args) * ops.convert_to_tensor(dy, "float32"))

    if keras.backend.backend() == "jax":
        jax = pytest.importorskip("jax")
        found = jax.grad(loss, argnums=tuple(range(len(tensors))))(*tensors)
    else:
        tf = pytest.importorskip("tensorflow")
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = loss(*tensors)
        found = tape.gradient(value, tensors)
    return [ops.convert_to_numpy(g) for g in found]


def numeric(
    function: Callable[..., np.ndarray],
    arguments: list[np.ndarray],
    dy: np.ndarray,
) -> list[np.ndarray]:
    """Returns the same by central differences in float64."""
    found = []
    for argument in arguments:
        gradient = np.zeros_like(argument)
        for index in np.ndindex(argument.shape):
            kept = argument[index]
            argument[index] = kept + 1e-5
            above = np.sum(function(*arguments) * dy)
            argument[index] = kept - 1e-5
            below = np.sum(function(*arguments) * dy)
            argument[index] = kept
            gradient[index] = (above - below) / 2e-5
        found.append(gradient)
    return found


def numpy_gelu_tanh(x: np.ndarray) -> np.ndarray:
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return x * 0.5 * (1.0 + np.tanh(inner))


def numpy_gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def numpy_layer_norm(
    x: np.ndarray, scale: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    std = np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    return (x - mean) / std * scale + bias


KEEP = RNG.rand(4, 6) < 0.7


def attend_with_dropout(scores: Any, values: Any) -> Any:
    mask = ops.convert_to_tensor(KEEP, "bool")

    def drop(x: Any, *others: Any, followed_by: Any = None) -> Any:
        left = ops.cast(mask, x.dtype) * x / 0.7
        return followed_by(left, *others) if followed_by else left

    return hand_gradients.attend_with_dropout(scores, values, drop)


def numpy_attend_with_dropout(
    scores: np.ndarray, values: np.ndarray
) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    p = exponentials / exponentials.sum(-1, keepdims=True)
    return (KEEP * p / 0.7) @ values


CASES: list[Any] = [
    pytest.param(
        attend_with_dropout,
        numpy_attend_with_dropout,
        [RNG.randn(4, 6) * 2.0, RNG.randn(6, 5)],
        id="attend_with_dropout",
    ),
    *(
        pytest.param(
            functools.partial(function, training=training),
            reference,
            [np.linspace(-5.0, 5.0, 21).reshape(3, 7)],
            id=f"{function.__name__}, training={training}",
        )
        for function, reference in (
            (hand_gradients.gelu, numpy_gelu),
            (hand_gradients.gelu_tanh, numpy_gelu_tanh),
        )
        for training in (False, True)
    ),
    pytest.param(
        lambda x, s, b: hand_gradients.layer_norm(x, s, b, 1e-3),
        numpy_layer_norm,
        [RNG.randn(2, 3, 5), RNG.randn(5), RNG.randn(5)],
        id="layer_norm",
    ),
    pytest.param(
        hand_gradients.wide_product,
        lambda x, kernel: x @ kernel,
        [RNG.randn(4, 3), RNG.randn(3, 6)],
        id="wide_product",
    ),
    pytest.param(
        hand_gradients.tied_logits,
        lambda x, table, bias: x @ table.T + bias,
        [RNG.randn(4, 3), RNG.randn(6, 3), RNG.randn(6)],
        id="tied_logits",
    ),
]


@pytest.mark.parametrize(("function", "reference", "arguments"), CASES)
def test_values_and_gradients(
    function: Callable[..., Any],
    reference: Callable[..., np.ndarray],
    arguments: list[np.ndarray],
) -> None:
    expected = reference(*arguments)
    tensors = [ops.convert_to_tensor(a, dtype="float32") for a in arguments]
    found = ops.convert_to_numpy(function(*tensors))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    dy = RNG.randn(*expected.shape)
    for ours, theirs in zip(
        gradients(function, arguments, dy),
        numeric(reference, arguments, dy),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
