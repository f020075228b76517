"""Returns memory to the system after large requests.

The runtime uses one arena per thread. Memory of a large request would stay in
its arena until the process ends.
"""

import ctypes
from collections.abc import Mapping

import numpy as np

# For smaller requests a trim costs more time than the memory is worth.
LARGE_BYTES = 1 << 18


def is_large(inputs: Mapping[str, np.ndarray]) -> bool:
    """Whether the arrays of a request are large, including their strings."""
    size = 0
    for array in inputs.values():
        size += array.nbytes
        if array.dtype == object:
            size += sum(map(len, array.flat))
    return size >= LARGE_BYTES


def give_back() -> None:
    """Returns free memory to the system; does nothing without `malloc_trim`."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
