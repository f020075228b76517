"""Tensors whose content does not fit their shape."""

from typing import Any

import numpy as np
import pytest

from tfllm.server import tensor_protos
from tfllm.server.protos import TensorProto
from tfllm.server.statuses import ServingError

STRING, INT32 = 7, 3


def proto(dtype: int, *shape: int, **values: Any) -> TensorProto:
    found = TensorProto(dtype=dtype, **values)
    for size in shape:
        found.tensor_shape.dim.add(size=size)
    return found


@pytest.mark.parametrize(
    ("message", "values"),
    [
        (proto(INT32, 3, int_val=[1, 2]), [1, 2, 2]),
        (proto(INT32, 2, int_val=[1, 2, 3]), [1, 2]),
        (proto(INT32, 2), [0, 0]),
        (proto(STRING, 2, string_val=[b"a"]), [b"a", b"a"]),
        (proto(INT32, 2, tensor_content=bytes(8)), [0, 0]),
        (proto(INT32, 2, 0), [[], []]),
        (proto(INT32, 2**16, int_val=[7]), [7] * 2**16),
    ],
)
def test_the_last_value_is_repeated(message: Any, values: list) -> None:
    assert tensor_protos.to_array("x", message).tolist() == values


def test_a_scalar() -> None:
    found = tensor_protos.to_array("x", proto(INT32, int_val=[5]))
    np.testing.assert_array_equal(found, np.array(5, np.int32), strict=True)


@pytest.mark.parametrize(
    "message",
    [
        proto(INT32, -1, int_val=[1]),
        # A few bytes must not stand for gigabytes.
        proto(INT32, 2**17, int_val=[1]),
        proto(STRING, 2**40, string_val=[b"a"]),
        # More than an array can have, although it has no element.
        proto(INT32, 0, 2**62, 2**62),
        proto(STRING, 0, 2**62, 2**62),
        proto(INT32, 2, tensor_content=bytes(7)),
        proto(0, 1),
        proto(99, 1),
    ],
)
def test_what_is_no_tensor(message: Any) -> None:
    with pytest.raises(ServingError, match="tensor parsing error: x"):
        tensor_protos.to_array("x", message)
