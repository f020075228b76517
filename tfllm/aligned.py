"""Memory that TensorFlow can use as a tensor without a copy."""

import math
from collections.abc import Sequence

import numpy as np

# Bytes to which TensorFlow aligns tensors.
ALIGNMENT = 64


def aligned(shape: Sequence[int], dtype: np.typing.DTypeLike) -> np.ndarray:
    """Returns an array with an aligned start and no values yet.

    Args:
        shape: Its shape.
        dtype: Its type.
    """
    size = np.dtype(dtype).itemsize * math.prod(shape)
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
