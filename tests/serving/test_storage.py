"""Weights in fewer bytes."""

from typing import Any

import keras
import numpy as np
import pytest

from tfllm.serving import storage

RNG = np.random.default_rng(0)
MATRIX = (RNG.normal(size=(64, 8)) * 10.0 ** np.arange(-4, 4)).astype("float32")


def restored(name: str, value: np.ndarray, *kinds: Any) -> np.ndarray:
    stored = storage.store(name, value, *kinds)
    return stored.restore(stored.value, stored.scale).numpy()


def test_int8_keeps_each_output_of_a_matrix() -> None:
    stored = storage.store("qkv/kernel", MATRIX, "float32", "int8")
    assert stored.value.dtype == np.int8
    assert stored.num_bytes == MATRIX.size + 4 * 8
    found = restored("qkv/kernel", MATRIX, "float32", "int8")
    # Half a step of each column, whose sizes differ by 10^7.
    steps = np.abs(MATRIX).max(0) / 127.0
    assert (np.abs(found - MATRIX) <= 0.51 * steps).all()


def test_int8_keeps_each_row_of_a_table() -> None:
    table = np.ascontiguousarray(MATRIX.T)
    found = restored("embeddings/token_table", table, "float32", "int8")
    steps = np.abs(table).max(1, keepdims=True) / 127.0
    assert (np.abs(found - table) <= 0.51 * steps).all()


def test_a_column_of_zeros_stays_zero() -> None:
    value = np.zeros((4, 2), np.float32)
    assert not restored("kernel", value, "float32", "int8").any()


@pytest.mark.parametrize(
    ("precision", "error"), [("bfloat16", 2**-8), ("float16", 2**-11)]
)
def test_half_precision(precision: Any, error: float) -> None:
    value = np.linspace(-3.0, 3.0, 1001, dtype=np.float32)
    stored = storage.store("norm/scale", value, precision, "int8")
    # Vectors are not quantized.
    assert stored.scale is None
    assert stored.num_bytes == 2 * value.size
    found = restored("norm/scale", value, precision, "int8")
    np.testing.assert_allclose(found, value, rtol=error)


def test_the_task_gets_the_weights_that_are_kept() -> None:
    weight = keras.Variable(MATRIX, name="kernel")
    (stored,) = storage.store_all([weight], "bfloat16", "none")
    np.testing.assert_array_equal(
        np.asarray(weight.value), stored.restore(stored.value, None)
    )
    assert not np.array_equal(np.asarray(weight.value), MATRIX)


def test_float16_must_hold_the_weights() -> None:
    weight = keras.Variable(MATRIX * 1e6, name="kernel")
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match="Received: 'float16'.*Use bfloat16"),
    ):
        storage.store_all([weight], "float16", "none")
