"""Converts arrays to bodies of REST responses.

Reference: tensorflow/serving 2.20, util/json_tensor.cc, down to the spaces.
"""

import base64
from collections.abc import Mapping, Sequence

import numpy as np

from tfllm.runtime.saved_model_file import TensorInfo
from tfllm.server import json_text, tensor_protos
from tfllm.server.rest_requests import ROW
from tfllm.server.statuses import invalid_argument

_FLOATS = ("float32", "float64")
_INTEGERS = (
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint32",
    "uint64",
)


def response(
    form: str,
    outputs: Mapping[str, np.ndarray],
    infos: Mapping[str, TensorInfo],
) -> bytes:
    """Returns the body that answers a predict request.

    Args:
        form: ROW or COLUMNAR.
        outputs: Arrays by name.
        infos: TensorInfo by name.

    Raises:
        ServingError: An array cannot be written in this format.
    """
    texts = {
        name: _texts(array, infos[name].dtype, name)
        for name, array in sorted(outputs.items())
    }
    if form == ROW:
        return _rows(outputs, texts)
    lines = ['{\n    "outputs": ']
    if len(texts) == 1:
        ((name, values),) = texts.items()
        lines.append(_nested(values, outputs[name].shape, "    "))
    else:
        lines.append("{\n")
        lines.append(
            ",\n".join(
                f"        {json_text.quoted(name.encode())}: "
                + _nested(values, outputs[name].shape, "        ")
                for name, values in texts.items()
            )
        )
        lines.append("\n    }")
    return json_text.encode([*lines, "\n}"])


def _rows(
    outputs: Mapping[str, np.ndarray], texts: Mapping[str, list[str]]
) -> bytes:
    """Returns {"predictions": [...]}, with a line per row."""
    count = 0
    for name in texts:
        shape = outputs[name].shape
        if not shape:
            raise invalid_argument(
                f"Tensor name: {name} has no shape information "
            )
        if shape[0] < 1:
            raise invalid_argument(
                f"Tensor name: {name} has invalid batch size: {shape[0]}"
            )
        if count not in (0, shape[0]):
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: "
                f"{shape[0]} expecting: {count}"
            )
        count = shape[0]
    columns = {
        name: _by_row(values, outputs[name].shape)
        for name, values in texts.items()
    }
    if len(columns) == 1:
        (rows,) = columns.values()
        return json_text.encode(
            ['{\n    "predictions": [', ", ".join(rows), "\n    ]\n}"]
        )
    keys = {name: json_text.quoted(name.encode()) for name in columns}
    rows = [
        "        {\n"
        + ",\n".join(
            f"            {keys[name]}: {column[i]}"
            for name, column in columns.items()
        )
        + "\n        }"
        for i in range(count)
    ]
    return json_text.encode(
        ['{\n    "predictions": [\n', ",\n".join(rows), "\n    ]\n}"]
    )


def _texts(array: np.ndarray, dtype: str, name: str) -> list[str]:
    """Returns the values of an array as JSON, in one list."""
    if dtype == "string":
        if name.endswith("_bytes"):
            return [
                f'{{"b64": "{base64.b64encode(item).decode()}"}}'
                for item in array.flat
            ]
        return [json_text.quoted(item) for item in array.flat]
    if dtype == "bool":
        return ["true" if item else "false" for item in array.flat]
    if dtype in _FLOATS:
        return json_text.decimals(array)
    if dtype in _INTEGERS:
        return [str(item) for item in array.ravel().tolist()]
    raise invalid_argument(
        "Failed to write JSON value for tensor type: "
        f"{tensor_protos.type_name(dtype)}"
    )


def _by_row(values: list[str], shape: tuple[int, ...]) -> list[str]:
    """Joins values into one text per row, lists in one line."""
    for size in reversed(shape[1:]):
        count = len(values) // size if size else int(np.prod(shape[:-1]))
        values = [
            f"[{', '.join(values[i * size : (i + 1) * size])}]"
            for i in range(count)
        ]
        shape = shape[:-1]
    return values


def _nested(values: list[str], shape: tuple[int, ...], indent: str) -> str:
    """Joins values into lists with a line per element."""
    if not shape:
        return values[0]
    if not shape[0]:
        return "[]"
    size = len(values) // shape[0]
    inner = indent + "    "
    parts = (
        _nested(values[i * size : (i + 1) * size], shape[1:], inner)
        for i in range(shape[0])
    )
    return "[\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}]"


def classifications(rows: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """Returns the body that answers a classify request."""
    texts = []
    for row in rows:
        scores = json_text.decimals(np.array([s for _, s in row], np.float32))
        pairs = (
            f"[{json_text.quoted(label)}, {score}]"
            for (label, _), score in zip(row, scores, strict=True)
        )
        texts.append(f"[{', '.join(pairs)}]")
    return json_text.encode(
        ['{\n    "results": [', ", ".join(texts), "\n    ]\n}"]
    )


def regressions(values: Sequence[float]) -> bytes:
    """Returns the body that answers a regress request."""
    texts = json_text.decimals(np.array(values, np.float32))
    return json_text.encode(['{\n    "results": [', ", ".join(texts), "]\n}"])
