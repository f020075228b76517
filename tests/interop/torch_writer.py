"""Writes torch files byte by byte, without torch."""

import dataclasses
import pathlib
import struct
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
DTYPES = (*_STORAGES,)


@dataclasses.dataclass
class Global:
    """A name that the pickle imports."""

    name: str


@dataclasses.dataclass
class Call:
    """A call of a name."""

    name: str
    arguments: tuple[Any, ...]


@dataclasses.dataclass
class Build:
    """An object whose state is set."""

    value: Any
    state: Any


@dataclasses.dataclass
class Persistent:
    """An id of something outside the pickle."""

    pid: Any


def dump(value: Any) -> bytes:
    return b"\x80\x02" + opcodes(value) + b"."


def opcodes(value: Any) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        content = value.to_bytes(
            value.bit_length() // 8 + 1, "little", signed=True
        )
        return b"\x8a" + bytes([len(content)]) + content
    if isinstance(value, str):
        content = value.encode()
        return b"X" + struct.pack("<I", len(content)) + content
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    if isinstance(value, dict):
        items = (opcodes(k) + opcodes(v) for k, v in value.items())
        return b"}(" + b"".join(items) + b"u"
    if isinstance(value, Global):
        module, _, name = value.name.rpartition(".")
        return f"c{module}\n{name}\n".encode()
    if isinstance(value, Call):
        called = opcodes(Global(value.name)) + opcodes(value.arguments)
        return called + b"R"
    if isinstance(value, Build):
        return opcodes(value.value) + opcodes(value.state) + b"b"
    if isinstance(value, Persistent):
        return opcodes(value.pid) + b"Q"
    raise TypeError(value)


def storage(key: str, dtype: str, size: int, *view: Any) -> Persistent:
    kind = Global(f"torch.{_STORAGES[dtype]}")
    return Persistent(("storage", kind, key, "cpu", size, *view))


def tensor(key: str, array: np.ndarray, *view: Any) -> Call:
    """The call that builds a tensor of which a storage holds all numbers."""
    strides = tuple(s // array.itemsize for s in array.strides)
    return Call(
        "torch._utils._rebuild_tensor_v2",
        (
            storage(key, array.dtype.name, array.size, *view),
            0,
            array.shape,
            strides,
            False,
            Call("collections.OrderedDict", ()),
        ),
    )


def array(dtype: str) -> np.ndarray:
    """Numbers that each dtype holds exactly."""
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return np.arange(6).reshape(2, 3).astype(kind)


def write_zip(path: pathlib.Path, value: Any, storages: dict[str, Any]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", dump(value))
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content.tobytes())
        file.writestr("archive/version", "3\n")


def write_old(path: pathlib.Path, value: Any, storages: dict[str, Any]) -> None:
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value]
    content = b"".join(map(dump, [*parts, list(storages)]))
    for numbers in storages.values():
        content += struct.pack("<q", numbers.size) + numbers.tobytes()
    path.write_bytes(content)


WRITERS = {"zip": write_zip, "old": write_old}
