"""Dropout with few random bits, other ones on each replica."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from tfllm.layers.linear import num_elements

# From the seed of a replica to that of the next: 2 ** 32 less its part by the
# golden ratio, so that those of many layers and replicas do not meet.
_STRIDE = 0x61C88647

_replica: contextvars.ContextVar[Any] = contextvars.ContextVar(
    "replica", default=0
)


@contextlib.contextmanager
def on_replica(number: Any) -> Iterator[None]:
    """Makes the random numbers of a block those of one replica.

    Each replica runs in a thread of its own, or in its own process, so a
    block holds for it alone.

    Args:
        number: int or int32 scalar, from 0.
    """
    token = _replica.set(number)
    try:
        yield
    finally:
        _replica.reset(token)


class ReplicaSeeds(keras.random.SeedGenerator):
    """Seeds that differ from replica to replica.

    Distributed replicas share one state, and so would draw the same numbers.
    Replica 0 draws those that a single device draws.
    """

    def next(self, ordered: bool = True) -> Any:
        """Returns the next seed of the replica of `on_replica`."""
        seed = super().next(ordered)
        number = _replica.get()
        if isinstance(number, int) and number == 0:
            return seed
        first = ops.cast(number, seed.dtype) * _STRIDE
        return seed + ops.stack([first, ops.zeros_like(first)])


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
        self.seed_generator = ReplicaSeeds() if rate > 0.0 else None
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """See the class."""
        if not training or self.rate == 0.0:
            return x
        zero = ops.zeros((), dtype=x.dtype)
        kept = ops.where(self.keep_mask(x), x, zero)
        return kept * (1.0 / (1.0 - self.rate))

    def keep_mask(self, x: Any) -> Any:
        """Returns a new boolean mask of the shape of x: what is not dropped.

        Args:
            x: Any shape and dtype.
        """
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
