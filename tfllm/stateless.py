"""Counter-based random numbers: each is a function of its key.

A draw is one output of SplitMix64 at a position in the stream of a key. It does
not depend on its batch or on earlier draws. The NumPy and the TensorFlow
functions give the same numbers with any version of either, which `np.random`
and `tf.random` do not promise.

Reference: Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number
generators" (the finaliser is Stafford's variant 13).
"""

import numpy as np
import tensorflow as tf

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_BITS = 0xFFFFFFFFFFFFFFFF


def _mix(value: int) -> int:
    value &= _BITS
    value = ((value ^ (value >> 30)) * _FIRST) & _BITS
    value = ((value ^ (value >> 27)) * _SECOND) & _BITS
    return value ^ (value >> 31)


def _mix_numpy(value: np.ndarray) -> np.ndarray:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_FIRST)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_SECOND)
    return value ^ (value >> np.uint64(31))


def _mix_tensor(value: tf.Tensor) -> tf.Tensor:
    def xor_shifted(value: tf.Tensor, bits: int) -> tf.Tensor:
        shifted = tf.bitwise.right_shift(value, np.uint64(bits))
        return tf.bitwise.bitwise_xor(value, shifted)

    value = xor_shifted(value, 30) * np.uint64(_FIRST)
    value = xor_shifted(value, 27) * np.uint64(_SECOND)
    return xor_shifted(value, 31)


def key(*parts: int) -> int:
    """Combines integers, whose order matters, into a 64-bit key."""
    folded = 0
    for part in parts:
        folded = _mix(folded ^ _mix(part + _GOLDEN))
    return folded


def permutation(size: int, *parts: int) -> np.ndarray:
    """Returns a random permutation.

    Args:
        size: Number of elements.
        *parts: Integers of its key, for example (seed, epoch).

    Returns:
        int64 [size].
    """
    places = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return np.argsort(
        _mix_numpy(places + np.uint64(key(*parts))), kind="stable"
    )


def row_keys(seed: int, epoch: tf.Tensor | int, ids: tf.Tensor) -> tf.Tensor:
    """Returns one key per example.

    Args:
        seed: Seed of the run.
        epoch: int64 scalar or [B].
        ids: Ids of the examples, int64 [B].

    Returns:
        uint64 [B], equal to `key(seed, epoch, id)`.
    """
    folded = tf.constant(np.uint64(key(seed)))
    for part in (epoch, ids):
        part = tf.cast(tf.cast(part, tf.int64), tf.uint64)
        part = _mix_tensor(part + np.uint64(_GOLDEN))
        folded = _mix_tensor(tf.bitwise.bitwise_xor(folded, part))
    return folded


def draw(keys: tf.Tensor, stream: int, count: int) -> tf.Tensor:
    """Returns random bits of one stream for each key.

    Args:
        keys: uint64 [B].
        stream: Number of the stream; a key has 256 independent ones.
        count: Number of draws per key, below 2^24.

    Returns:
        uint64 [B, count], all 64 bits uniform.
    """
    places = np.arange(1, count + 1, dtype=np.uint64)
    places += np.uint64(stream << 24)
    places *= np.uint64(_GOLDEN)
    return _mix_tensor(keys[:, tf.newaxis] + places)


def array_keys(seed: int, epoch: int, ids: np.ndarray) -> np.ndarray:
    """Returns one key per example, as `row_keys` does, in NumPy.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch.
        ids: Ids of the examples, int64 [B].

    Returns:
        uint64 [B], equal to `key(seed, epoch, id)`.
    """
    parts = _mix_numpy(ids.astype(np.uint64) + np.uint64(_GOLDEN))
    return _mix_numpy(np.uint64(key(seed, epoch)) ^ parts)


def draw_array(keys: np.ndarray, stream: int, count: int) -> np.ndarray:
    """Returns the bits of `draw`, in NumPy, uint64 [B, count]."""
    places = np.arange(1, count + 1, dtype=np.uint64)
    places += np.uint64(stream << 24)
    places *= np.uint64(_GOLDEN)
    return _mix_numpy(keys[:, np.newaxis] + places)


def to_unit_interval(bits: tf.Tensor) -> tf.Tensor:
    """Converts the high 24 bits to float32 in [0, 1)."""
    high = tf.bitwise.right_shift(bits, np.uint64(40))
    return tf.cast(tf.cast(high, tf.int32), tf.float32) * 2.0**-24


def to_integers(bits: tf.Tensor, bound: int) -> tf.Tensor:
    """Converts the low 32 bits to int32, uniform in [0, bound)."""
    low = tf.bitwise.bitwise_and(bits, np.uint64(0xFFFFFFFF))
    scaled = tf.bitwise.right_shift(low * np.uint64(bound), np.uint64(32))
    return tf.cast(scaled, tf.int32)
