"""Dropout with few random bits."""

from typing import Any

import keras
from keras import ops

from tfllm.layers.linear import num_elements


class Dropout(keras.layers.Layer):
    """Sets a share `rate` of the elements to zero and scales the rest.

    NOTE: 16 random bits per element instead of the usual 32: the rate is
    kept to within 2 ** -17, and half as many numbers are drawn. For the
    gradient only the boolean mask is kept.

    Args:
        rate: Share of elements to drop, in [0, 1).
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        x: float, any shape.
        training: Drop only if true.

    Returns:
        As x.

    Reference: Srivastava et al., 2014.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = (
            keras.random.SeedGenerator() if rate > 0.0 else None
        )
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """See the class."""
        if not training or self.rate == 0.0:
            return x
        zero = ops.zeros((), dtype=x.dtype)
        kept = ops.where(self._keep_mask(x), x, zero)
        return kept * (1.0 / (1.0 - self.rate))

    def _keep_mask(self, x: Any) -> Any:
        """Returns a boolean mask of the shape of x."""
        threshold = round((1.0 - self.rate) * 2**16)
        count = num_elements(tuple(x.shape))
        if count is None:
            count = ops.size(x)
        # One int32 holds the numbers of two elements.
        bits = keras.random.randint(
            ((count + 1) // 2, 1),
            -(2**31),
            2**31 - 1,
            dtype="int32",
            seed=self.seed_generator,
        )
        halves = ops.reshape(ops.view(bits, dtype="uint16"), (-1,))[:count]
        return ops.reshape(
            ops.less(halves, ops.convert_to_tensor(threshold, "uint16")),
            ops.shape(x),
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate}
