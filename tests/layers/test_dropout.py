from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.layers import Dropout
from tfllm.layers.dropout import on_replica


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("shape", [(201, 333), (3, 7, 11, 301)])
def test_rate_scale_and_values(rate: float, shape: tuple[int, ...]) -> None:
    keras.utils.set_random_seed(0)
    y = ops.convert_to_numpy(Dropout(rate)(ops.ones(shape), training=True))
    dropped = y == 0
    deviation = np.sqrt(rate * (1 - rate) / y.size)
    assert abs(dropped.mean() - rate) < 5 * deviation
    np.testing.assert_allclose(y[~dropped], 1 / (1 - rate), rtol=1e-6)


def test_elements_are_independent() -> None:
    keras.utils.set_random_seed(0)
    y = ops.convert_to_numpy(Dropout(0.5)(ops.ones((100, 501)), training=True))
    keep = (y != 0).astype(float).ravel()
    # Two neighbours share one random integer.
    for lag in (1, 2, 501):
        correlation = np.corrcoef(keep[:-lag], keep[lag:])[0, 1]
        assert abs(correlation) < 0.03


def test_calls_differ_and_a_seed_repeats_them() -> None:
    def two_calls() -> list[np.ndarray]:
        keras.utils.set_random_seed(7)
        layer = Dropout(0.5)
        x = ops.ones((64, 64))
        return [ops.convert_to_numpy(layer(x, training=True)) for _ in range(2)]

    first, second = two_calls(), two_calls()
    assert (first[0] != first[1]).any()
    np.testing.assert_array_equal(first, second)


def test_replicas_differ_and_the_first_is_a_single_device() -> None:
    def kept(number: Any) -> np.ndarray:
        keras.utils.set_random_seed(7)
        layer, x = Dropout(0.5), ops.ones((64, 65))
        if number is None:
            return ops.convert_to_numpy(layer(x, training=True)) > 0
        with on_replica(number):
            return ops.convert_to_numpy(layer(x, training=True)) > 0

    alone, first, second, third = (kept(n) for n in (None, 0, 1, 2))
    np.testing.assert_array_equal(alone, first)
    np.testing.assert_array_equal(
        second, kept(ops.convert_to_tensor(1, "int32"))
    )
    for one, other in ((first, second), (second, third), (first, third)):
        assert 0.45 < (one == other).mean() < 0.55


def test_identity_outside_training_and_at_rate_zero() -> None:
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    for layer, training in ((Dropout(0.5), False), (Dropout(0.0), True)):
        y = layer(x, training=training)
        np.testing.assert_array_equal(ops.convert_to_numpy(y), x)
    assert not Dropout(0.0).variables


def test_half_precision_keeps_its_dtype() -> None:
    layer = Dropout(0.5, dtype="mixed_bfloat16")
    y = layer(ops.ones((4, 4), dtype="bfloat16"), training=True)
    assert "bfloat16" in str(y.dtype)
    assert Dropout.from_config(layer.get_config()).rate == 0.5
