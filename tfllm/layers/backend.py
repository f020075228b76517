"""What `keras.ops` lacks on TensorFlow; other backends get something equal."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfllm.aligned import ALIGNMENT, aligned

# Bits of the axes whose slices are whole: all but the third.
_OTHER_AXES = 0b1011


def on_tensorflow() -> bool:
    """Returns whether the backend is TensorFlow."""
    return keras.backend.backend() == "tensorflow"


def no_values(shape: Any, dtype: Any = None) -> Any:
    """Initializer that allocates memory without filling it.

    Args:
        shape: Its shape.
        dtype: Its type.
    """
    if not on_tensorflow():
        return ops.zeros(shape, dtype)
    import tensorflow as tf

    return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=False)


def as_tensor(array: np.ndarray) -> Any:
    """Returns an array as a tensor, in the same memory if that is aligned.

    Args:
        array: The values, which must not be changed later.
    """
    if not on_tensorflow():
        return array
    import tensorflow as tf

    if array.ctypes.data % ALIGNMENT or not array.flags.c_contiguous:
        memory = aligned(array.shape, array.dtype)
        memory[...] = array
        array = memory
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def put_positions(buffer: Any, new: Any, start: Any) -> Any:
    """Returns a buffer with T of its positions replaced.

    NOTE: not `ops.slice_update`, which is an XLA op on TensorFlow: stock TF
    Serving does not run it.

    Args:
        buffer: [B, K, S, H].
        new: [B, K, T, H], of the same type.
        start: int32 scalar, the first position that is replaced.
    """
    if not on_tensorflow():
        return ops.slice_update(buffer, (0, 0, start, 0), new)
    import tensorflow as tf

    return tf.raw_ops.TensorStridedSliceUpdate(
        input=buffer,
        begin=tf.stack([0, 0, start, 0]),
        end=tf.stack([0, 0, start + tf.shape(new)[2], 0]),
        strides=tf.ones([4], tf.int32),
        value=new,
        begin_mask=_OTHER_AXES,
        end_mask=_OTHER_AXES,
    )
