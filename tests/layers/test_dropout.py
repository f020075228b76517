from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.layers import Dropout, dropout
from tfllm.layers.dropout import on_replica


@pytest.fixture(autouse=True, params=["hash", "keras"])
def numbers(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The source of the random numbers: that of CPUs, that of the others."""
    if request.param == "keras":
        monkeypatch.setattr(dropout, "on_cpu", lambda: False)
    elif not dropout.on_cpu():
        pytest.skip("the hash is for TensorFlow on CPU")
    return str(request.param)


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
    # With Keras' numbers, two neighbours share one random integer.
    for lag in (1, 2, 501):
        correlation = np.corrcoef(keep[:-lag], keep[lag:])[0, 1]
        assert abs(correlation) < 0.03


def test_calls_are_independent() -> None:
    keras.utils.set_random_seed(0)
    layer, x = Dropout(0.5), ops.ones((50_000,))
    kept = [ops.convert_to_numpy(layer(x, training=True)) > 0 for _ in range(8)]
    correlations = np.corrcoef(kept) - np.eye(8)
    assert abs(correlations).max() < 0.03
    # Nor does one call hold the elements of another, moved.
    for lag in (1, 2, 7):
        moved = [np.roll(row, lag) for row in kept]
        between = np.corrcoef(kept, moved)[:8, 8:]
        assert abs(between).max() < 0.03


def test_the_gradient_drops_what_the_value_drops() -> None:
    tf = pytest.importorskip("tensorflow")
    layer, x = Dropout(0.3), tf.ones((40, 50))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        value = tf.reduce_sum(3.0 * y)
    np.testing.assert_allclose(tape.gradient(value, x), 3.0 * y, rtol=1e-6)
    assert 0.0 < np.mean(y == 0.0) < 1.0


def test_one_draw_drops_the_same_of_all() -> None:
    x = ops.ones((30, 40))
    layer = Dropout(0.5)
    drop = layer.draw(x)
    np.testing.assert_allclose(drop(x), drop(3.0 * x) / 3.0, rtol=1e-6)
    np.testing.assert_allclose(
        drop(x, x, followed_by=ops.add), drop(x) + x, rtol=1e-6
    )
    assert np.any(layer.draw(x)(x) != drop(x))


def test_the_hash_is_that_of_its_docstring() -> None:
    def finalize(h: int) -> int:
        h = (h ^ (h >> 16)) * 0x85EBCA6B % 2**32
        h = (h ^ (h >> 13)) * 0xC2B2AE35 % 2**32
        return h ^ (h >> 16)

    seed, rate = (123_456_789, 4_000_000_000), 0.25
    kept = [
        finalize((finalize(i ^ seed[0]) + seed[1]) % 2**32) < 0.75 * 2**32
        for i in range(600)
    ]
    y = dropout.drop_by_hash(
        ops.ones((20, 30)), ops.convert_to_tensor(seed, "uint32"), rate
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(y).ravel() > 0, np.array(kept)
    )


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
