"""Reads and writes safetensors: one file, or shards with an index.

Needs no TensorFlow, so that the JAX backend can read model folders.
"""

import contextlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from tfllm.aligned import aligned
from tfllm.interop import shards

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


def has_tensors(folder: pathlib.Path) -> bool:
    """Returns whether a folder has safetensors files."""
    return shards.has_tensors(folder, WEIGHTS_FILE, INDEX_FILE)


class SafetensorsFolder:
    """The tensors of a model folder, read one at a time.

    Args:
        folder: Local folder with `model.safetensors`, or with shards and
            their index.

    Raises:
        ValueError: The folder has no safetensors files, or one is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        self._files: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._offsets: dict[str, dict[str, int]] = {}
        for file in shards.shard_names(self.folder, WEIGHTS_FILE, INDEX_FILE):
            with _named_read_errors(self.folder / file):
                # A context manager would close the memory map too early.
                opened = safetensors.safe_open(self.folder / file, "numpy")
            self._files[file] = opened
            self._names.update(dict.fromkeys(opened.keys(), file))
        shards.check_index(self.folder, WEIGHTS_FILE, INDEX_FILE, self._names)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor, without reading it."""
        return {
            name: tuple(self._files[file].get_slice(name).get_shape())
            for name, file in self._names.items()
        }

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor as float32, whatever its stored type."""
        file = self._names[name]
        with _named_read_errors(self.folder / file):
            part = self._files[file].get_slice(name)
            if part.get_dtype() == "F32":
                return self._read_float32(file, name, part.get_shape())
            tensor = self._files[file].get_tensor(name)
        return np.asarray(tensor).astype(np.float32, copy=False)

    def _read_float32(
        self, file: str, name: str, shape: list[int]
    ) -> np.ndarray:
        """Reads a tensor past the memory map, whose pages would stay."""
        array = aligned(shape, np.float32)
        with (self.folder / file).open("rb", buffering=0) as stream:
            stream.seek(self._offset(file, name))
            view = array.reshape(-1).view(np.uint8).data
            while view:
                count = stream.readinto(view)
                if not count:
                    raise safetensors.SafetensorError("the file became shorter")
                view = view[count:]
        return array

    def _offset(self, file: str, name: str) -> int:
        """Returns where the bytes of a tensor start in its file."""
        if file not in self._offsets:
            with (self.folder / file).open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(length))
            self._offsets[file] = {
                key: 8 + length + value["data_offsets"][0]
                for key, value in header.items()
                if key != "__metadata__"
            }
        return self._offsets[file][name]


@contextlib.contextmanager
def _named_read_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns an error of safetensors into a ValueError that names the file."""
    try:
        yield
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"'{path}' must be a whole safetensors file. "
            f"Received: {error}. Fetch or save it again."
        ) from error


def shortened(names: Iterable[str], limit: int = 5) -> str:
    """Returns the first names as text, and the number of the others."""
    names = list(names)
    text = ", ".join(names[:limit])
    return f"{text}, and {len(names) - limit} more" if names[limit:] else text


def write(
    folder: pathlib.Path,
    shapes: dict[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, np.ndarray]],
    max_shard_bytes: int,
) -> None:
    """Writes float32 tensors as one file, or as shards with an index.

    Memory holds one shard at a time. Files get their names when all are
    complete. Weights of an earlier save that are not overwritten are deleted.

    Args:
        folder: Existing local folder.
        shapes: Shape by name, in the order of `tensors`.
        tensors: (name, tensor) pairs.
        max_shard_bytes: Largest file, unless one tensor alone is larger.

    Raises:
        OSError: The disk is full, or the folder is not writable.
    """
    sizes = {name: 4 * int(np.prod(s)) for name, s in shapes.items()}
    shards = _names_by_shard(sizes, max_shard_bytes)
    count = len(shards)
    files = (
        [WEIGHTS_FILE]
        if count == 1
        else [
            f"model-{i:05d}-of-{count:05d}.safetensors"
            for i in range(1, count + 1)
        ]
    )
    written: list[tuple[pathlib.Path, pathlib.Path]] = []
    stream = iter(tensors)
    try:
        for file, names in zip(files, shards, strict=True):
            # safetensors writes the memory of a tensor, whatever its strides.
            part = {
                name: np.ascontiguousarray(tensor)
                for name, tensor in itertools.islice(stream, len(names))
            }
            temporary = folder / f"{file}.partial"
            written.append((temporary, folder / file))
            with _as_os_error(temporary):
                safetensors.numpy.save_file(
                    part, temporary, metadata={"format": "pt"}
                )
                # safetensors lets only the owner read its files, but a
                # server may run as another user.
                temporary.chmod(0o666 & ~umask())
        if count > 1:
            written.append(
                (folder / f"{INDEX_FILE}.partial", folder / INDEX_FILE)
            )
            written[-1][0].write_text(_index_json(files, shards, sizes))
    except BaseException:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)
        raise
    for temporary, final in written:
        temporary.replace(final)
    _remove_stale(folder, {final.name for _, final in written})


def umask() -> int:
    """Returns the umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _names_by_shard(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Returns the tensor names of each file of up to `limit` bytes."""
    shards: list[list[str]] = [[]]
    total = 0
    for name, size in sizes.items():
        if shards[-1] and total + size > limit:
            shards.append([])
            total = 0
        shards[-1].append(name)
        total += size
    return shards


def _index_json(
    files: list[str], shards: list[list[str]], sizes: dict[str, int]
) -> str:
    """Returns the index: the file of each tensor."""
    return json.dumps(
        {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": {
                name: file
                for file, names in zip(files, shards, strict=True)
                for name in names
            },
        },
        indent=2,
        sort_keys=True,
    )


def _remove_stale(folder: pathlib.Path, current: set[str]) -> None:
    """Removes weights of an earlier save: loaders might read them instead."""
    for pattern in (WEIGHTS_FILE, INDEX_FILE, "model-*-of-*.safetensors"):
        for path in folder.glob(pattern):
            if path.name not in current:
                path.unlink()


@contextlib.contextmanager
def _as_os_error(path: pathlib.Path) -> Iterator[None]:
    """Turns an error of safetensors into an OSError."""
    try:
        yield
    except safetensors.SafetensorError as error:
        raise OSError(f"cannot write '{path}': {error}") from error
