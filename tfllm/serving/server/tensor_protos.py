"""Arrays to TensorProto and back, as Tensor::AsProtoField and FromProto do.

Reference: tensorflow/core/framework/tensor.cc.
"""

import math

import numpy as np

from tfllm.serving.saved_model_file import DTYPES
from tfllm.serving.server.protos import TensorProto
from tfllm.serving.server.statuses import ServingError, invalid_argument

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
# Names that DataTypeString gives.
NAMES = {"float32": "float", "float64": "double", "float16": "half"}

# One value may stand for a whole tensor: a few bytes, terabytes of memory.
_MOST_ELEMENTS = 1 << 26


def type_name(dtype: str) -> str:
    """Returns TensorFlow's name of a dtype."""
    return NAMES.get(dtype, dtype)


def to_array(name: str, proto: TensorProto) -> np.ndarray:
    """Returns the array of a message; strings as objects of bytes.

    Args:
        name: Of the input, for the message.
        proto: With typed values or with `tensor_content`.

    Raises:
        ServingError: It is no tensor.
    """
    dtype = DTYPES.get(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = math.prod(shape)
    if (
        dtype not in FIELDS
        or proto.tensor_shape.unknown_rank
        or any(side < 0 for side in shape)
        or size > _MOST_ELEMENTS
    ):
        raise _no_tensor(name)
    if dtype == "string":
        return _strings(proto, size).reshape(shape)
    try:
        if proto.tensor_content:
            flat = np.frombuffer(proto.tensor_content, dtype)
            return flat.reshape(shape)
        values = getattr(proto, FIELDS[dtype])[:size]
        if dtype == "float16":
            flat = np.array(values, "uint16").view("float16")
        else:
            flat = np.array(values, dtype)
    except (ValueError, OverflowError) as error:
        raise _no_tensor(name) from error
    if len(flat) < size:
        last = flat[-1] if len(flat) else np.zeros((), dtype)
        flat = np.concatenate([flat, np.full(size - len(flat), last, dtype)])
    return flat.reshape(shape)


def _strings(proto: TensorProto, size: int) -> np.ndarray:
    """Returns `size` strings; the last one is repeated."""
    values = list(proto.string_val[:size])
    flat = np.empty(size, object)
    flat[:] = values[-1] if values else b""
    flat[: len(values)] = values
    return flat


def _no_tensor(name: str) -> ServingError:
    return invalid_argument(f"tensor parsing error: {name}")


def to_proto(array: np.ndarray, dtype: str) -> TensorProto:
    """Returns the message of an array, with typed values.

    Args:
        array: The array.
        dtype: Its dtype, "string" for objects of bytes.

    Raises:
        ServingError: No field holds such values.
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
