"""What XLA compiles alone: equal values, in training alone."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.layers import Dropout
from tfllm.layers.activations import ACTIVATIONS
from tfllm.layers.fused import fused, on_cpu

tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="of TensorFlow"
)


def scaled_square(x: Any, factor: Any) -> Any:
    return ops.square(x) * ops.cast(factor, x.dtype)


def compiled_nodes(function: Callable[..., Any], *specs: Any) -> list[str]:
    """Returns the names of the calls in a graph that XLA must compile."""
    graph = tf.function(function).get_concrete_function(*specs).graph
    return [
        node.name
        for node in graph.as_graph_def().node
        if node.attr["_XlaMustCompile"].b
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_at_any_shape(dtype: str) -> None:
    twice = fused(scaled_square)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], dtype)])
    def at_unknown_shape(x: Any) -> Any:
        return twice(x, 2.0)

    for shape in ((2, 4, 3), (1, 1, 3), (0, 5, 3), (5, 2, 3)):
        x = np.random.default_rng(0).integers(-9, 9, shape)
        tensor = ops.convert_to_tensor(x, dtype)
        for y in (twice(tensor, 2.0), at_unknown_shape(tensor)):
            assert y.dtype == dtype
            np.testing.assert_array_equal(
                ops.convert_to_numpy(ops.cast(y, "float32")), 2 * x**2
            )


def test_static_shapes_stay_known() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 7])])
    def shape_of(x: Any) -> Any:
        y = fused(scaled_square)(x, 2.0)
        assert y.shape.as_list() == [None, 7]
        return y

    assert shape_of(tf.ones([3, 7])).shape == (3, 7)


def test_where_it_does_not_pay_the_function_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gpu_too() -> list[Any]:
        return [
            tf.config.LogicalDevice("/device:CPU:0", "CPU"),
            tf.config.LogicalDevice("/device:GPU:0", "GPU"),
        ]

    spec = tf.TensorSpec([None])
    square = fused(scaled_square)
    assert on_cpu()
    assert compiled_nodes(lambda x: square(x, 2.0), spec)
    monkeypatch.setattr(tf.config, "list_logical_devices", gpu_too)
    assert not on_cpu()
    assert not compiled_nodes(lambda x: square(x, 2.0), spec)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh"])
def test_only_training_needs_xla(name: str) -> None:
    spec = tf.TensorSpec([None, 8])
    activation = ACTIVATIONS[name]
    assert compiled_nodes(lambda x: activation(x, training=True), spec)
    assert not compiled_nodes(activation, spec)
    dropout = Dropout(0.1)
    assert compiled_nodes(lambda x: dropout(x, training=True), spec)
    assert not compiled_nodes(lambda x: dropout(x, training=False), spec)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh"])
def test_whole_programs_may_be_compiled_too(name: str) -> None:
    x = tf.linspace(-4.0, 4.0, 33)

    def value_and_gradient(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ACTIVATIONS[name](x, training=True)
        return y, tape.gradient(y, x)

    alone = value_and_gradient(x)
    whole = tf.function(value_and_gradient, jit_compile=True)(x)
    for one, other in zip(alone, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
