"""Reads the pickle of a torch file without torch and without running code.

A pickle names functions that its reader calls. This reader knows the few that
build tensors, replaces them by inert ones, and refuses all others by name.
"""

import collections
import pickle
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

# torch dtype -> dtype of NumPy. bfloat16 is the upper half of a float32.
BFLOAT16 = "bfloat16"
DTYPES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    BFLOAT16: "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "?",
}
_MAX = 2**48  # above all sizes and offsets
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


# Tuples, not dataclasses: a pickle can set attributes of what it builds.


class StorageType(NamedTuple):
    """A class of storages, such as torch.FloatStorage.

    Attributes:
        dtype: One of `DTYPES`.
    """

    dtype: str


class Storage(NamedTuple):
    """The numbers of one or more tensors, which stand outside the pickle.

    Attributes:
        key: Name of the storage in the file.
        dtype: One of `DTYPES`.
        size: Count of numbers.
    """

    key: str
    dtype: str
    size: int


class StoredTensor(NamedTuple):
    """A view of a storage.

    Attributes:
        storage: The storage.
        offset: Number at which the tensor starts.
        shape: Its shape.
        strides: Steps between the numbers of each axis, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
) -> StoredTensor:
    """Describes a tensor, and checks that it lies within its storage."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise pickle.UnpicklingError("a tensor without a storage")
    if any(type(n) is not int or not 0 <= n < _MAX for n in numbers):
        raise pickle.UnpicklingError(
            f"a tensor with offset {offset}, shape {shape}, strides {strides}"
        )
    last = offset + sum(
        (n - 1) * step for n, step in zip(shape, strides, strict=True)
    )
    if 0 not in shape and last >= storage.size:
        raise pickle.UnpicklingError(
            f"a tensor of shape {shape} in a storage of {storage.size} numbers"
        )
    return StoredTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    """Returns the tensor of a parameter."""
    return data


def _make_tuple(values: Any = ()) -> tuple[Any, ...]:
    """Stands for torch.Size."""
    return tuple(values)


_GLOBALS: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): _make_tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{
        ("torch", name): StorageType(dtype) for name, dtype in _STORAGES.items()
    },
    **{("torch", dtype): f"torch.{dtype}" for dtype in DTYPES},
}


class _Unpickler(pickle.Unpickler):
    """Builds dicts, lists, numbers, text and `StoredTensor`s, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name, of the few that are known."""
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(
                f"the name {module}.{name}, which is not part of a tensor, "
                "and which was not imported or called"
            )
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the storage that an id in the pickle names."""
        is_storage = (
            isinstance(pid, tuple)
            and len(pid) in (5, 6)
            and pid[0] == "storage"
            and isinstance(pid[1], StorageType)
            and type(pid[4]) is int
        )
        # The sixth is a view in the old format: no longer written.
        if not is_storage or pid[5:] not in ((), (None,)):
            raise pickle.UnpicklingError(f"the storage {pid!r}")
        return Storage(str(pid[2]), pid[1].dtype, pid[4])


def load(stream: IO[bytes], origin: str) -> Any:
    """Reads one pickle of a torch file.

    Args:
        stream: Stream at the start of the pickle; left behind its end.
        origin: Description of the file, for messages.

    Returns:
        Dicts, lists, tuples, numbers and text, with `StoredTensor`s.

    Raises:
        ValueError: The pickle names anything but the parts of tensors, or is
            damaged. Nothing in it was called.
    """
    try:
        return _Unpickler(stream).load()
    # A damaged pickle raises errors of many kinds.
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ValueError(
            f"{origin} must be a pickle of tensors alone. Received: "
            f"{reason}. If you trust the file, load it with torch, and save "
            "its state dict as safetensors."
        ) from error


# Keys under which training code stores the tensors of a model.
_NESTED = ("state_dict", "model_state_dict", "model", "module")


def named_tensors(
    value: Any, origin: str
) -> tuple[dict[str, StoredTensor], list[str]]:
    """Returns the tensors of a state dict, and the names of other entries.

    Args:
        value: What `load` returned. The state dict may stand under one of
            the usual keys, such as "state_dict".
        origin: Description of the file, for messages.

    Raises:
        ValueError: There are no tensors.
    """
    others: list[str] = []
    while isinstance(value, Mapping):
        tensors = {
            str(key): item
            for key, item in value.items()
            if isinstance(item, StoredTensor)
        }
        if tensors:
            names = (str(k) for k in value if str(k) not in tensors)
            return tensors, sorted([*others, *names])
        inner = next(_nested(value), None)
        if inner is None:
            break
        others += (str(key) for key in value if key != inner)
        value = value[inner]
    raise ValueError(
        f"{origin} must hold tensors by name. Received: {_summary(value)}. "
        "Save the state dict of the model."
    )


def _nested(value: Mapping[Any, Any]) -> Iterator[Any]:
    """Yields the keys of `value` that hold a state dict."""
    return (k for k in _NESTED if isinstance(value.get(k), Mapping))


def _summary(value: Any) -> str:
    """Describes a value in a few words."""
    if isinstance(value, Mapping):
        names = sorted(map(str, value))[:5]
        return f"a dict with the keys {names}"
    return f"a {type(value).__name__}"
