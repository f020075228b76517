"""Converts bodies of REST requests to arrays.

Error messages are those of TensorFlow Serving.

Reference: tensorflow/serving 2.20, util/json_tensor.cc.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfllm.runtime import input_shapes
from tfllm.runtime.saved_model_file import Signature, TensorInfo
from tfllm.server import json_text, tensor_protos
from tfllm.server.json_text import shown
from tfllm.server.statuses import ServingError, invalid_argument

ROW, COLUMNAR = "instances", "inputs"

# All integers up to this one are exact in a float.
_MOST_INTEGER = {"float32": 2**24 - 1, "float64": 2**53 - 1}
_INT32 = (-(2**31), 2**31 - 1)
_RANGES = {
    "int32": _INT32,
    "int16": _INT32,
    "int8": _INT32,
    "uint8": _INT32,
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
_MOST_FLOAT32 = float(np.finfo(np.float32).max)


def signature_name(document: Mapping[str, Any]) -> str:
    """Returns the signature name of a request; "" without one."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def tensors(
    document: Mapping[str, Any], signature: Signature
) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the format and the arrays of a predict request.

    Args:
        document: Parsed body.
        signature: Signature that is called.

    Raises:
        ServingError: The body does not match the signature.
    """
    if ROW in document and COLUMNAR in document:
        raise invalid_argument(
            f"JSON Value: {shown(document)} Not formatted correctly expecting "
            "only one of 'inputs' or 'instances' keys to exist "
        )
    if ROW in document:
        rows = document[ROW]
        if not isinstance(rows, list):
            raise invalid_argument(
                f"JSON Value: {shown(document)} Excepting 'instances' to be "
                "an list/array"
            )
        if not rows:
            raise invalid_argument(
                f"JSON Value: {shown(document)} No values in 'instances' array"
            )
        return ROW, _from_rows(rows, signature.inputs)
    if COLUMNAR in document:
        return COLUMNAR, _from_columns(document[COLUMNAR], signature.inputs)
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _from_rows(
    rows: list[Any], infos: Mapping[str, TensorInfo]
) -> dict[str, np.ndarray]:
    """Returns the arrays of {"instances": [...]}."""
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as "
            "multiple input tensors required as per tensorinfo_map"
        )
    are_objects = _is_object(rows[0])
    columns: dict[str, list[Any]] = {name: [] for name in infos}
    shapes: dict[str, tuple[int, ...]] = {}
    names = sorted(infos)
    for i, row in enumerate(rows):
        if are_objects:
            if not _is_object(row):
                raise invalid_argument(
                    f"Expecting object but got list at item {i} of input list"
                )
            items = row.items()
        else:
            if _is_object(row):
                raise invalid_argument(
                    "Expecting value/list but got object at item "
                    f"{i} of input list"
                )
            items = ((names[0], row),)
        for name, value in items:
            key = f" key: {name}" if are_objects else ""
            try:
                _append(value, name, infos, shapes, columns)
            except ServingError as error:
                raise invalid_argument(
                    f"Failed to process element: {i}{key} of 'instances' "
                    f"list. Error: {error.code}: {error.message}"
                ) from error
        if are_objects and sorted(row) != names:
            raise invalid_argument(
                f"Failed to process element: {i} of 'instances' list. JSON "
                f"object: {shown(row)} keys must be equal to: "
                f"{','.join(names)}"
            )
    return {
        name: _array(columns[name], infos[name].dtype).reshape(
            len(rows), *shape
        )
        for name, shape in shapes.items()
    }


def _append(
    value: Any,
    name: str,
    infos: Mapping[str, TensorInfo],
    shapes: dict[str, tuple[int, ...]],
    columns: Mapping[str, list[Any]],
) -> None:
    """Appends one row to the values of an input."""
    if name not in infos:
        raise invalid_argument(
            f"JSON object: does not have named input: {name}"
        )
    shape = _shape(value)
    before = len(columns[name])
    _fill(value, 0, shape, infos[name].dtype, columns[name])
    size = len(columns[name]) - before
    expected = shapes.setdefault(name, shape)
    if size != int(np.prod(expected)):
        raise invalid_argument(
            f"Expecting tensor size: {int(np.prod(expected))} but got: {size}"
        )
    if shape != expected:
        raise invalid_argument(
            f"Expecting shape {input_shapes.shown(expected)} but got: "
            f"{input_shapes.shown(shape)}"
        )


def _from_columns(
    value: Any, infos: Mapping[str, TensorInfo]
) -> dict[str, np.ndarray]:
    """Returns the arrays of {"inputs": ...}."""
    if not _is_object(value):
        if len(infos) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as "
                "multiple input tensors required as per tensorinfo_map"
            )
        value = dict.fromkeys(infos, value)
    for name in infos:
        if name not in value:
            raise invalid_argument(
                f"Missing named input: {name} in 'inputs' object."
            )
    return {
        name: _tensor(value[name], info.dtype) for name, info in infos.items()
    }


def _tensor(value: Any, dtype: str) -> np.ndarray:
    """Returns the array of a value or of lists of values."""
    shape, flat = _shape(value), []  # type: tuple[tuple[int, ...], list[Any]]
    _fill(value, 0, shape, dtype, flat)
    return _array(flat, dtype).reshape(shape)


def _shape(value: Any) -> tuple[int, ...]:
    """Returns the shape of nested lists, by their first elements."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _fill(
    value: Any, level: int, shape: tuple[int, ...], dtype: str, flat: list[Any]
) -> None:
    """Appends the values of nested lists, checked against the shape."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {shown(value)} found at incorrect level: "
                f"{level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        flat.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(
            f"Encountered list at unexpected level: {level} expected < "
            f"{len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: "
            f"{level} expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, shape, dtype, flat)


def _scalar(value: Any, dtype: str) -> Any:
    """Checks and returns one value."""
    if dtype == "string":
        if isinstance(value, str):
            return json_text.string_bytes(value)
        if isinstance(value, dict):
            return from_base64(value)
        raise _type_error(value, dtype)
    if isinstance(value, dict):
        raise _type_error(value, dtype)
    if dtype == "bool":
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    if dtype in _MOST_INTEGER:
        return to_float(value, dtype)
    if dtype in _RANGES:
        low, high = _RANGES[dtype]
        if type(value) is not int or not low <= value <= high:
            raise _type_error(value, dtype)
        return value
    raise ServingError(
        "UNIMPLEMENTED",
        f"Conversion of JSON Value: {shown(value)} to type: "
        f"{tensor_protos.type_name(dtype)}",
    )


def to_float(value: Any, dtype: str) -> float:
    """Checks and returns a number as a float."""
    if type(value) not in (int, float):
        raise _type_error(value, dtype)
    if type(value) is int:
        lossy = abs(value) > _MOST_INTEGER[dtype]
    else:
        lossy = (
            dtype == "float32"
            and abs(value) > _MOST_FLOAT32
            and abs(value) != float("inf")
        )
    if lossy:
        raise invalid_argument(
            f"Cannot convert JSON value: {shown(value)} to "
            f"{tensor_protos.type_name(dtype)} without loss of precision."
        )
    return value


def _type_error(value: Any, dtype: str) -> ServingError:
    return invalid_argument(
        f"JSON Value: {shown(value)} Type: {json_text.kind_of(value)} is not "
        f"of expected type: {tensor_protos.type_name(dtype)}"
    )


def is_base64(value: Any) -> bool:
    """Whether a value is {"b64": "..."}."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(value.get("b64"), str)
    )


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def from_base64(value: dict[str, Any]) -> bytes:
    """Returns the bytes of {"b64": "..."}."""
    if not is_base64(value):
        raise invalid_argument(
            f"JSON Value: {shown(value)} not formatted correctly for base64 "
            "data"
        )
    text = value["b64"].rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _array(flat: list[Any], dtype: str) -> np.ndarray:
    """Returns checked values as a one-dimensional array."""
    if dtype == "string":
        array = np.empty(len(flat), object)
        array[:] = flat
        return array
    if dtype in _RANGES and _RANGES[dtype] is _INT32:
        return np.array(flat, "int32").astype(dtype)
    return np.array(flat, dtype)
