"""Counter-based random numbers: a value is a function of its key.

Every draw is one output of SplitMix64 at a given place of the stream that a
key opens, so it depends on neither the batch it was drawn in nor on what was
drawn before. The NumPy and the TensorFlow functions give the same numbers, on
any version of either, which `np.random` and `tf.random` do not promise.

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
    """Folds integers into one 64-bit key; their order matters."""
    folded = 0
    for part in parts:
        folded = _mix(folded ^ _mix(part + _GOLDEN))
    return folded


def permutation(size: int, *parts: int) -> np.ndarray:
    """A random order of `size` things that is a function of `parts`.

    Args:
        size: number of things.
        *parts: integers that key the order, for example (seed, epoch).

    Returns:
        int64 [size].
    """
    places = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return np.argsort(
        _mix_numpy(places + np.uint64(key(*parts))), kind="stable"
    )


def row_keys(seed: int, epoch: tf.Tensor | int, ids: tf.Tensor) -> tf.Tensor:
    """One key per example.

    Args:
        seed: the run's seed.
        epoch: int64 scalar or [B].
        ids: int64 [B], ids of the examples.

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
    """Random bits of one stream for every key.

    Args:
        keys: uint64 [B].
        stream: which of 256 independent streams of the key.
        count: numbers per key, below 2^24.

    Returns:
        uint64 [B, count], all 64 bits uniform.
    """
    places = np.arange(1, count + 1, dtype=np.uint64)
    places += np.uint64(stream << 24)
    places *= np.uint64(_GOLDEN)
    return _mix_tensor(keys[:, tf.newaxis] + places)


def to_unit_interval(bits: tf.Tensor) -> tf.Tensor:
    """Turns the high 24 bits into float32 in [0, 1)."""
    high = tf.bitwise.right_shift(bits, np.uint64(40))
    return tf.cast(tf.cast(high, tf.int32), tf.float32) * 2.0**-24


def to_integers(bits: tf.Tensor, bound: int) -> tf.Tensor:
    """Turns the low 32 bits into int32 uniform on [0, bound)."""
    low = tf.bitwise.bitwise_and(bits, np.uint64(0xFFFFFFFF))
    scaled = tf.bitwise.right_shift(low * np.uint64(bound), np.uint64(32))
    return tf.cast(scaled, tf.int32)
