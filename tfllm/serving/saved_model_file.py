"""Reads saved_model.pb without TensorFlow: its signatures and its ops.

The classes that protobuf generates for it import all of TensorFlow; the few
fields that are needed here are read from the wire format.

Reference: tensorflow/core/protobuf/meta_graph.proto and saved_model.proto.
"""

import collections
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

SAVED_MODEL_FILE = "saved_model.pb"
SERVE_TAG = b"serve"

# Numbers of tensorflow.DataType -> names of NumPy, and "string".
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One input or output of a signature.

    Attributes:
        tensor: Name in the graph, such as "serving_default_text:0".
        dtype: Name of the dtype; "string" for bytes.
        shape: Sizes, -1 where unknown; None for an unknown rank.
    """

    tensor: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of a SavedModel.

    Attributes:
        inputs: By name.
        outputs: By name.
        method_name: Such as "tensorflow/serving/predict".
    """

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    method_name: str


@dataclasses.dataclass(frozen=True)
class SavedModelFile:
    """What a saved_model.pb says.

    Attributes:
        signatures: By name, without TensorFlow's own.
        ops: Op -> number of nodes, in the graph and in its functions.
        devices: Devices that nodes ask for; empty if none does.
        functions: Names of the functions, left out of `ops`.
        compiled: Names of functions and nodes that ask for XLA.
    """

    signatures: dict[str, Signature]
    ops: dict[str, int]
    devices: frozenset[str]
    functions: frozenset[str]
    compiled: tuple[str, ...]


def read(folder: str | os.PathLike[str]) -> SavedModelFile:
    """Reads the graph that is tagged "serve".

    Args:
        folder: A version of a SavedModel.

    Raises:
        ValueError: There is no such file, or it is damaged, or has no such
            graph.
    """
    path = os.path.join(os.fspath(folder), SAVED_MODEL_FILE)
    if not os.path.isfile(path):
        raise ValueError(
            f"a SavedModel must hold {SAVED_MODEL_FILE}. Received: "
            f"{os.fspath(folder)!r}, without it. Name the folder of a version."
        )
    with open(path, "rb") as file:
        content = memoryview(file.read())
    try:
        for number, meta_graph in _fields(content):
            if number == 2 and SERVE_TAG in _tags(meta_graph):
                return _meta_graph(meta_graph)
    except (IndexError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{SAVED_MODEL_FILE} must be whole. Received: {path!r}, {error}. "
            "Export it again."
        ) from error
    raise ValueError(
        "a SavedModel must have a graph tagged 'serve'. Received: "
        f"{path!r}, without one. Export it again."
    )


def _meta_graph(content: memoryview) -> SavedModelFile:
    signatures: dict[str, Signature] = {}
    ops: collections.Counter[str] = collections.Counter()
    devices: set[str] = set()
    functions: set[str] = set()
    compiled: set[str] = set()
    for number, value in _fields(content):
        if number == 5:
            name, signature = _map_entry(value)
            # TensorFlow's own: the op that initializes tables.
            if not name.startswith("__"):
                signatures[name] = _signature(signature)
        elif number == 2:
            for node in _nodes(value, functions, compiled):
                parts = dict(_fields(node))
                ops[_text(parts[2])] += 1
                devices.add(_text(parts.get(4, b"")))
                if _asks_for_xla(node):
                    compiled.add(_text(parts[1]))
    return SavedModelFile(
        dict(sorted(signatures.items())),
        {op: ops[op] for op in sorted(set(ops) - functions)},
        frozenset(devices - {""}),
        frozenset(functions),
        tuple(sorted(compiled)),
    )


def _nodes(
    graph: memoryview, functions: set[str], compiled: set[str]
) -> Iterator[memoryview]:
    """Yields the nodes of a graph and its functions, whose names it adds."""
    for number, value in _fields(graph):
        if number == 1:
            yield value
        elif number == 2:
            for kind, function in _fields(value):
                if kind != 1:
                    continue
                name = ""
                for part, inner in _fields(function):
                    if part == 1:
                        name = _text(dict(_fields(inner))[1])
                        functions.add(name)
                    elif part == 3:
                        yield inner
                if _asks_for_xla(function):
                    compiled.add(name)


def _asks_for_xla(content: memoryview) -> bool:
    """Whether a NodeDef or a FunctionDef is to be compiled."""
    for number, value in _fields(content):
        # The attributes, in either of them.
        if number == 5:
            name, attribute = _map_entry(value)
            # Field 5 of an AttrValue is a bool.
            if name == "_XlaMustCompile" and dict(_fields(attribute)).get(5):
                return True
    return False


def _signature(content: memoryview) -> Signature:
    tensors: dict[int, dict[str, TensorInfo]] = {1: {}, 2: {}}
    method = ""
    for number, value in _fields(content):
        if number in tensors:
            name, info = _map_entry(value)
            tensors[number][name] = _tensor_info(info)
        elif number == 3:
            method = _text(value)
    return Signature(
        dict(sorted(tensors[1].items())),
        dict(sorted(tensors[2].items())),
        method,
    )


def _tensor_info(content: memoryview) -> TensorInfo:
    name, dtype, shape = "", 0, None
    for number, value in _fields(content):
        if number == 1:
            name = _text(value)
        elif number == 2:
            dtype = value
        elif number == 3:
            shape = _shape(value)
    return TensorInfo(name, DTYPES.get(dtype, f"dtype {dtype}"), shape)


def _shape(content: memoryview) -> tuple[int, ...] | None:
    sizes = []
    for number, value in _fields(content):
        if number == 3 and value:
            return None
        if number == 2:
            size = dict(_fields(value)).get(1, 0)
            sizes.append(size - (1 << 64) if size >> 63 else size)
    return tuple(sizes)


def _map_entry(content: memoryview) -> tuple[str, memoryview]:
    """Returns key and value of an entry of a map."""
    parts = dict(_fields(content))
    return _text(parts[1]), parts.get(2, memoryview(b""))


def _tags(meta_graph: memoryview) -> list[bytes]:
    """Returns the tags of a MetaGraphDef."""
    for number, value in _fields(meta_graph):
        if number == 1:
            return [bytes(tag) for n, tag in _fields(value) if n == 4]
    return []


def _text(value: memoryview | bytes) -> str:
    return bytes(value).decode("utf-8")


def _fields(content: memoryview) -> Iterator[tuple[int, Any]]:
    """Yields number and value of the fields of a message.

    A value is an int for varints, and a view for everything of a length.
    Raises IndexError where the message ends too early.
    """
    place, end = 0, len(content)
    while place < end:
        tag, place = _varint(content, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(content, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, place = _varint(content, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise IndexError(f"wire type {kind} at byte {place}")
        if place + size > end:
            raise IndexError(f"it ends inside a field at byte {place}")
        yield tag >> 3, content[place : place + size]
        place += size


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Returns a varint and where it ends."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
