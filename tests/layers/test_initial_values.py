"""Tests of tfllm.layers.initial_values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.aligned import ALIGNMENT, aligned
from tfllm.layers import initial_values
from tfllm.layers.linear import Linear


def create() -> Linear:
    """A layer whose kernel has two spreads, built."""
    layer = Linear(4, 6, first_columns=(2, 0.5))
    layer.build()
    return layer


def test_what_is_not_set_is_drawn_with_the_same_seeds() -> None:
    keras.utils.set_random_seed(3)
    expected = [np.asarray(create().kernel.value) for _ in range(2)]
    keras.utils.set_random_seed(3)
    with initial_values.deferred():
        assert initial_values.are_deferred()
        set_one, left_one = create(), create()
        given = np.arange(24, dtype=np.float32).reshape(4, 6)
        initial_values.set_value(set_one.kernel, given)
    assert not initial_values.are_deferred()
    np.testing.assert_array_equal(set_one.kernel.value, given)
    np.testing.assert_array_equal(left_one.kernel.value, expected[1])
    assert np.abs(expected[0][:, :2]).max() > np.abs(expected[0][:, 2:]).max()


def test_nothing_is_drawn_after_an_error() -> None:
    def draw(shape: object, dtype: object = None) -> object:
        raise AssertionError

    def fail() -> None:
        with initial_values.deferred():
            initial_values.add_drawn(keras.layers.Layer(), "w", (2,), draw)
            raise OSError("damaged")

    with pytest.raises(OSError, match="damaged"):
        fail()
    assert not initial_values.are_deferred()


@pytest.mark.parametrize("order", ["C", "F"])
def test_values_stay_when_the_array_is_gone(order: str) -> None:
    """Aligned or not, in either order, in place updates included."""
    for start in (0, 1):
        memory = aligned((25,), np.float32)
        memory[...] = np.arange(25)
        array = memory[start : start + 24].reshape(4, 6, order=order)
        expected = array.copy()
        variable = keras.Variable(np.zeros((4, 6), np.float32))
        initial_values.set_value(variable, array)
        del memory, array
        np.testing.assert_array_equal(variable.value, expected)
        variable.assign_add(tf.ones([4, 6]))
        np.testing.assert_array_equal(variable.value, expected + 1)


def test_bfloat16_variables_take_float32() -> None:
    variable = keras.Variable(np.zeros((2,)), dtype="bfloat16")
    initial_values.set_value(variable, np.array([1.5, -2.0], np.float32))
    np.testing.assert_array_equal(
        np.asarray(variable.value, np.float32), [1.5, -2.0]
    )


def test_aligned() -> None:
    for shape in ((3,), (2, 5), ()):
        array = aligned(shape, np.float32)
        assert array.shape == shape
        assert array.ctypes.data % ALIGNMENT == 0
