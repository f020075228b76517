"""Converts arrays to TensorProto and back.

Reference: tensorflow/core/framework/tensor.cc (AsProtoField, FromProto).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.runtime.saved_model_file import DTYPES
from tfllm.server.protos import TensorProto
from tfllm.server.statuses import ServingError, invalid_argument

# dtype -> the field of TensorProto that holds its values.
FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int32": "int_val",
    "int16": "int_val",
    "int8": "int_val",
    "uint16": "int_val",
    "uint8": "int_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "string": "string_val",
    "float16": "half_val",
}
NUMBERS = {name: number for number, name in DTYPES.items()}
# Names that differ in TensorFlow's DataTypeString.
NAMES = {"float32": "float", "float64": "double", "float16": "half"}

# A message may repeat its last value: a few bytes could ask for terabytes.
_MOST_REPEATED = 1 << 16


def type_name(dtype: str) -> str:
    """Returns TensorFlow's name of a dtype."""
    return NAMES.get(dtype, dtype)


def to_array(name: str, proto: TensorProto) -> np.ndarray:
    """Returns the array of a message; strings as objects of bytes.

    Args:
        name: Input name, for the error message.
        proto: Message with typed values or `tensor_content`.

    Raises:
        ServingError: The message is not a valid tensor.
    """
    dtype = DTYPES.get(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = math.prod(shape)
    if (
        dtype not in FIELDS
        or proto.tensor_shape.unknown_rank
        or any(side < 0 for side in shape)
    ):
        raise _no_tensor(name)
    try:
        if proto.tensor_content and dtype != "string":
            return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
        sent = getattr(proto, FIELDS[dtype])[:size]
        if size - len(sent) > _MOST_REPEATED:
            raise _no_tensor(name)
        # A shape may be too large for NumPy, even without an element.
        return _filled(sent, dtype, size).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise _no_tensor(name) from error


def _filled(values: Sequence[Any], dtype: str, size: int) -> np.ndarray:
    """Returns `size` values, the last one repeated."""
    if dtype == "string":
        flat = np.empty(size, object)
        flat[:] = values[-1] if values else b""
        flat[: len(values)] = values
        return flat
    if dtype == "float16":
        flat = np.array(values, "uint16").view("float16")
    else:
        flat = np.array(values, dtype)
    last = flat[-1] if len(flat) else np.zeros((), dtype)
    return np.concatenate([flat, np.full(size - len(flat), last, dtype)])


def _no_tensor(name: str) -> ServingError:
    return invalid_argument(f"tensor parsing error: {name}")


def to_proto(array: np.ndarray, dtype: str) -> TensorProto:
    """Returns an array as a message with typed values.

    Args:
        array: The array.
        dtype: Its dtype, "string" for objects of bytes.

    Raises:
        ServingError: No field holds values of this dtype.
    """
    if dtype not in FIELDS:
        raise ServingError("UNIMPLEMENTED", f"no field of TensorProto: {dtype}")
    proto = TensorProto(dtype=NUMBERS[dtype])
    for side in array.shape:
        proto.tensor_shape.dim.add(size=side)
    if dtype == "float16":
        array = array.view("uint16")
    getattr(proto, FIELDS[dtype]).extend(array.ravel().tolist())
    return proto
