"""Dropout with cheap random numbers that differ on each replica."""

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

# Step from the seed of a replica to that of the next: 2 ** 32 - 2 ** 32 / phi,
# phi the golden ratio, so that many layers and replicas share no seed.
_STRIDE = 0x61C88647

_replica: contextvars.ContextVar[Any] = contextvars.ContextVar(
    "replica", default=0
)


@contextlib.contextmanager
def on_replica(number: Any) -> Iterator[None]:
    """Draws the random numbers of one replica inside the `with` block.

    Each replica runs in its own thread or process, so the block affects only
    that replica.

    Args:
        number: int or int32 scalar, from 0.
    """
    token = _replica.set(number)
    try:
        yield
    finally:
        _replica.reset(token)


class ReplicaSeeds(keras.random.SeedGenerator):
    """Seed generator whose seeds differ on each replica.

    Distributed replicas share one state and would draw the same numbers
    without it. Replica 0 draws the numbers of a single device.
    """

    def next(self, ordered: bool = True) -> Any:
        """Returns the next seed of the replica that `on_replica` names."""
        seed = super().next(ordered)
        number = _replica.get()
        if isinstance(number, int) and number == 0:
            return seed
        first = ops.cast(number, seed.dtype) * _STRIDE
        return seed + ops.stack([first, ops.zeros_like(first)])


class Dropout(keras.layers.Layer):
    """Sets a share `rate` of the elements to zero and scales up the rest.

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
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = ReplicaSeeds() if rate > 0.0 else None
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns x, with dropout in training."""
        if not training or self.rate == 0.0:
            return x
        return linear_map(self.draw(x), x)

    def draw(self, x: Any) -> Callable[..., Any]:
        """Chooses which elements to drop from tensors of the shape of x.

        Args:
            x: Any shape and dtype.

        Returns:
            A function that drops the same elements from each tensor that it
            is called with. It has no gradient of its own. If it is called
            with a function `followed_by` and more tensors, it applies that
            function to the result and those tensors, in one pass on CPU.
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
            # Other operations than above: a graph computes equal ones once
            # and keeps the result until its last use.
            return followed_by(x * (ops.cast(mask, x.dtype) * scale), *others)

        return drop

    def _random_mask(self, x: Any) -> Any:
        """Returns a boolean mask of the shape of x, true for kept elements."""
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
        """Returns the constructor's arguments, ready for JSON."""
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
    """Returns `drop_by_hash`, followed by a function of its result."""
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
