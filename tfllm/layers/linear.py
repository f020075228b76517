"""Matrix product over the last axis."""

import math
from typing import Any

import keras
from keras import ops

from tfllm.layers import initial_values
from tfllm.layers.fused import on_cpu
from tfllm.layers.hand_gradients import wide_product


class Linear(keras.layers.Layer):
    """Affine map of the last axis: `x @ kernel + bias`.

    NOTE: unlike `keras.layers.Dense` it folds the leading axes into one, so
    that the product is one 2-D GEMM forward and backward instead of a batched
    one with a broadcast kernel.

    Args:
        input_size: Width of the input.
        output_size: Width of the output.
        use_bias: Add a bias.
        initializer_range: Standard deviation of the truncated normal.
        first_columns: Number of the first columns with another deviation, and
            this deviation; None for none.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        x: float [..., input_size].
        columns: (start, stop) of the outputs to compute, or None for all.
        training: A gradient will be computed; Keras fills it in.

    Returns:
        float [..., output_size or stop - start], compute dtype.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        use_bias: bool = True,
        initializer_range: float = 0.02,
        first_columns: tuple[int, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_size = input_size
        self.output_size = output_size
        self.use_bias = use_bias
        self.initializer_range = initializer_range
        self.first_columns = first_columns

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        shape = (self.input_size, self.output_size)
        self.kernel = initial_values.add_drawn(
            self, "kernel", shape, self._initial_kernel()
        )
        self.bias = (
            self.add_weight(
                name="bias", shape=(self.output_size,), initializer="zeros"
            )
            if self.use_bias
            else None
        )
        self.built = True

    def _initial_kernel(self) -> initial_values.Draw:
        """Returns what draws the kernel; its seeds are fixed now."""
        normal = keras.initializers.TruncatedNormal
        if self.first_columns is None:
            return normal(stddev=self.initializer_range)
        count, spread = self.first_columns
        first = normal(stddev=spread)
        rest = normal(stddev=self.initializer_range)

        def draw(shape: Any, dtype: Any = None) -> Any:
            rows, width = shape
            parts = (
                first((rows, count), dtype),
                rest((rows, width - count), dtype),
            )
            return ops.concatenate(parts, axis=1)

        return draw

    def call(
        self,
        x: Any,
        columns: tuple[int, int] | None = None,
        training: bool = False,
    ) -> Any:
        """Returns x @ kernel + bias, float [..., outputs]."""
        start, stop = columns or (0, self.output_size)
        part = (stop - start) < self.output_size
        shape = x.shape
        flat = ops.reshape(x, (-1, self.input_size)) if len(shape) != 2 else x
        kernel = self.kernel[:, start:stop] if part else self.kernel
        product = ops.matmul
        if training and _has_slow_columns(kernel) and on_cpu():
            product = wide_product
        y = product(flat, kernel)
        if self.bias is not None:
            y = ops.add(y, self.bias[start:stop] if part else self.bias)
        if len(shape) == 2:
            return y
        return ops.reshape(y, leading_shape(x) + (stop - start,))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, ready for JSON."""
        return {
            **super().get_config(),
            "input_size": self.input_size,
            "output_size": self.output_size,
            "use_bias": self.use_bias,
            "initializer_range": self.initializer_range,
            "first_columns": self.first_columns,
        }


def _has_slow_columns(kernel: Any) -> bool:
    """Returns whether `wide_product` is faster for this kernel."""
    return kernel.dtype == "float32" and kernel.shape[1] % 512 == 0


def leading_shape(x: Any) -> tuple[Any, ...]:
    """Returns all axes of x but the last, static where known.

    At most one unknown axis becomes -1, so that the result can go to
    `reshape` without a shape tensor.
    """
    static = tuple(x.shape)[:-1]
    unknown = sum(size is None for size in static)
    if unknown == 0:
        return static
    if unknown == 1:
        return tuple(-1 if size is None else size for size in static)
    return tuple(ops.shape(x)[:-1])


def take_positions(x: Any, positions: Any) -> Any:
    """Gathers the vectors of x at some positions.

    Args:
        x: float [B, T, D].
        positions: int32 [B, P], in [0, T).

    Returns:
        float [B, P, D].
    """
    batch, length, width = ops.shape(x)
    first = ops.expand_dims(ops.arange(batch, dtype="int32") * length, 1)
    # One lookup in a table of B * T rows: its gradient is one sum.
    return ops.take(
        ops.reshape(x, (-1, width)),
        ops.cast(positions, "int32") + first,
        axis=0,
    )


def num_elements(shape: tuple[int | None, ...]) -> int | None:
    """Returns the product of a static shape, or None if unknown."""
    if any(size is None for size in shape):
        return None
    return math.prod(int(size) for size in shape if size is not None)
