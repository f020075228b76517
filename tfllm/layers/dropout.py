"""Dropout with cheap random numbers, other ones on each replica."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from tfllm.layers.fused import fused, on_cpu
from tfllm.layers.hand_gradients import linear_map
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

    NOTE: on CPU the random numbers are a hash of the seed and the element's
    number, which XLA computes within the pass that drops: as fast as reading
    a mask, and nothing is kept for the gradient. Elsewhere they are those of
    Keras, with 16 random bits per element instead of the usual 32.

    Args:
        rate: Share of elements to drop, in [0, 1).
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        x: float, any shape.
        training: Drop only if true.

    Returns:
        As x.

    Reference: Srivastava et al., 2014; Salmon et al., 2011 (random numbers
    by counting).
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
        return linear_map(self.draw(x), x)

    def draw(self, x: Any) -> Callable[..., Any]:
        """Chooses what is dropped of tensors of the shape of x.

        Args:
            x: Any shape and dtype.

        Returns:
            A function that drops the same elements of every tensor that it
            is given, without a gradient of its own. Given a function
            `followed_by` and more tensors, it applies that to the result and
            to them, in the same pass where it can.
        """
        assert self.seed_generator is not None
        if on_cpu():
            seed = ops.cast(self.seed_generator.next(), "uint32")
            return lambda x, *others, followed_by=None: fused(
                _drop_by_hash_and(followed_by)
            )(x, seed, self.rate, *others)
        mask = self._random_mask(x)
        scale = 1.0 / (1.0 - self.rate)

        def drop(x: Any, *others: Any, followed_by: Any = None) -> Any:
            if followed_by is None:
                return ops.where(mask, x, ops.zeros((), x.dtype)) * scale
            # By other operations: graphs do equal ones once, and keep the
            # result until its last use.
            return followed_by(x * (ops.cast(mask, x.dtype) * scale), *others)

        return drop

    def _random_mask(self, x: Any) -> Any:
        """Returns a boolean mask of the shape of x: what is not dropped."""
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


def drop_by_hash(x: Any, seed: Any, rate: Any) -> Any:
    """Returns x with a share of its elements zero and the rest scaled.

    The random number of element i is h(h(i xor seed[0]) + seed[1]), where h
    is the finalizer of MurmurHash3 (Appleby, 2011), a permutation of the
    32-bit integers.

    Args:
        x: float, any shape of less than 2 ** 31 elements.
        seed: uint32 [2].
        rate: float32 scalar in [0, 1).
    """
    index = ops.cast(ops.arange(ops.size(x), dtype="int32"), "uint32")
    bits = _hash(_hash(ops.bitwise_xor(index, seed[0])) + seed[1])
    kept = ops.reshape(bits, ops.shape(x)) < ops.cast(
        (1.0 - rate) * 2.0**32, "uint32"
    )
    scale = ops.cast(1.0 / (1.0 - rate), x.dtype)
    return ops.where(kept, x * scale, ops.zeros((), x.dtype))


@functools.cache
def _drop_by_hash_and(function: Callable[..., Any] | None) -> Any:
    """Returns `drop_by_hash` and, after it, a function of what is left."""
    if function is None:
        return drop_by_hash

    def drop(x: Any, seed: Any, rate: Any, *others: Any) -> Any:
        return function(drop_by_hash(x, seed, rate), *others)

    return drop


def _hash(x: Any) -> Any:
    """Returns the finalizer of MurmurHash3 of uint32 x."""

    def folded(x: Any, bits: int) -> Any:
        return ops.bitwise_xor(x, ops.right_shift(x, _uint32(bits)))

    x = folded(x, 16) * _uint32(0x85EBCA6B)
    x = folded(x, 13) * _uint32(0xC2B2AE35)
    return folded(x, 16)


def _uint32(value: int) -> Any:
    return ops.convert_to_tensor(value, "uint32")
