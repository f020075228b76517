"""Reads torch `.bin`, `.pt` and `.pth` files without torch.

Both formats are read: zip archives, and the format before torch 1.6. Needs no
TensorFlow.
"""

import functools
import io
import os
import pathlib
import pickle
import struct
import zipfile
from typing import Any, Protocol

import numpy as np

from tfllm.interop import shards, torch_pickle
from tfllm.interop.torch_pickle import DTYPES, Storage, StoredTensor

WEIGHTS_FILE = "pytorch_model.bin"
INDEX_FILE = "pytorch_model.bin.index.json"
# First pickle of the format before torch 1.6.
_MAGIC = 0x1950A86A20F9469CFC6C


def has_tensors(folder: pathlib.Path) -> bool:
    """Returns whether a folder has torch files of Transformers."""
    return shards.has_tensors(folder, WEIGHTS_FILE, INDEX_FILE)


class _Archive(Protocol):
    """An open torch file."""

    value: Any

    def read_storage(self, storage: Storage) -> bytes:
        """Returns the bytes of a storage."""
        ...


class _ZipArchive:
    """A zip archive with `NAME/data.pkl` and `NAME/data/KEY`."""

    def __init__(self, path: pathlib.Path) -> None:
        self._zip = zipfile.ZipFile(path)
        pickles = [n for n in self._zip.namelist() if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise zipfile.BadZipFile(f"{len(pickles)} entries '.../data.pkl'")
        self._prefix = pickles[0].removesuffix("data.pkl")
        order = f"{self._prefix}byteorder"
        if order in self._zip.namelist() and self._zip.read(order) != b"little":
            raise zipfile.BadZipFile("numbers in big-endian order")
        content = io.BytesIO(self._zip.read(pickles[0]))
        self.value = torch_pickle.load(content, f"'{path}'")

    def read_storage(self, storage: Storage) -> bytes:
        """Returns the bytes of a storage."""
        return self._zip.read(f"{self._prefix}data/{storage.key}")


class _OldArchive:
    """Pickles one after the other, then sizes and bytes of the storages."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        origin = f"'{path}'"
        with path.open("rb") as file:
            if torch_pickle.load(file, origin) != _MAGIC:
                raise zipfile.BadZipFile("neither format of torch")
            torch_pickle.load(file, origin)  # version
            torch_pickle.load(file, origin)  # sizes of C types
            self.value = torch_pickle.load(file, origin)
            keys = torch_pickle.load(file, origin)
            sizes = {s.key: s for s in _storages(self.value)}
            self._places: dict[str, int] = {}
            for key in map(str, keys):
                (count,) = struct.unpack("<q", file.read(8))
                storage = sizes.get(key)
                if storage is None or storage.size != count:
                    raise zipfile.BadZipFile(f"storage {key} of {count}")
                self._places[key] = file.tell()
                file.seek(_num_bytes(storage), os.SEEK_CUR)

    def read_storage(self, storage: Storage) -> bytes:
        """Returns the bytes of a storage."""
        with self._path.open("rb") as file:
            file.seek(self._places[storage.key])
            return file.read(_num_bytes(storage))


def _storages(value: Any) -> list[Storage]:
    """Returns the storages of all tensors in a value."""
    if isinstance(value, StoredTensor):
        return [value.storage]
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return []
    return [storage for item in value for storage in _storages(item)]


def _num_bytes(storage: Storage) -> int:
    """Returns the size of a storage in bytes."""
    return storage.size * np.dtype(DTYPES[storage.dtype]).itemsize


class TorchFile:
    """The tensors of one torch file, read one at a time; a TensorSource.

    Args:
        path: Local file.

    Attributes:
        others: Names of entries that are no tensors, sorted.

    Raises:
        ValueError: The file is damaged, or its pickle names anything but the
            parts of tensors. Nothing in it was called.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        origin = f"'{self.path}'"
        try:
            self._archive = _open(self.path)
        except (
            zipfile.BadZipFile,
            pickle.UnpicklingError,
            struct.error,
            EOFError,
        ) as error:
            raise ValueError(
                f"{origin} must be a whole torch file. Received: {error}. "
                "Fetch or save it again."
            ) from error
        self.tensors, self.others = torch_pickle.named_tensors(
            self._archive.value, origin
        )
        # Several tensors may share one storage.
        self._read_storage = functools.lru_cache(1)(self._read_whole_storage)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor, without reading it."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor as float32, whatever its stored type."""
        tensor = self.tensors[name]
        numbers = self._read_storage(tensor.storage)
        # `torch_pickle` has checked that the view lies within its storage.
        view = np.lib.stride_tricks.as_strided(
            numbers[tensor.offset :],
            tensor.shape,
            [step * numbers.itemsize for step in tensor.strides],
            writeable=False,
        )
        if tensor.storage.dtype == torch_pickle.BFLOAT16:
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view.astype(np.float32)

    def _read_whole_storage(self, storage: Storage) -> np.ndarray:
        """Returns the values in a storage, the flat array behind tensors.

        Raises:
            ValueError: The storage is missing, or shorter than it should be.
        """
        try:
            content = self._archive.read_storage(storage)
        except (KeyError, zipfile.BadZipFile, OSError) as error:
            raise ValueError(
                f"'{self.path}' must be a whole torch file. Received: {error}. "
                "Fetch or save it again."
            ) from error
        if len(content) < _num_bytes(storage):
            raise ValueError(
                f"'{self.path}' must have {_num_bytes(storage)} bytes in "
                f"storage {storage.key}. Received: {len(content)}. Fetch or "
                "save it again."
            )
        return np.frombuffer(content, DTYPES[storage.dtype], storage.size)


def _open(path: pathlib.Path) -> _Archive:
    """Opens a torch file of either format."""
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    return _ZipArchive(path) if is_zip else _OldArchive(path)


class TorchFolder:
    """The tensors of a folder with torch files of Transformers.

    Args:
        folder: Local folder with `pytorch_model.bin`, or with shards and
            their index.

    Raises:
        ValueError: The folder has no torch files, a shard is missing, or a
            file is damaged or no pickle of tensors alone.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        self._files: dict[str, TorchFile] = {}
        for name in shards.shard_names(self.folder, WEIGHTS_FILE, INDEX_FILE):
            file = TorchFile(self.folder / name)
            self._files.update(dict.fromkeys(file.tensors, file))
        shards.check_index(self.folder, WEIGHTS_FILE, INDEX_FILE, self._files)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor, without reading it."""
        return {n: file.tensors[n].shape for n, file in self._files.items()}

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor as float32."""
        return self._files[name].read(name)
