"""Tensors of an embedding model: of its transformer and its Dense modules."""

import functools
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from tfllm.interop.folder_tensors import open_tensors
from tfllm.interop.module_files import modules_of
from tfllm.models.weight_map import TensorSource


def tensors(folder: pathlib.Path) -> TensorSource:
    """Opens the tensors of a folder and of its Dense modules.

    Tensors of Dense modules have the names that `projection_name` gives.
    """
    body = open_tensors(folder)
    dense = [path for kind, path in modules_of(folder) if kind == "Dense"]
    return _WithProjections(body, [open_tensors(p) for p in dense])


def projection_name(index: int, name: str) -> str:
    """Returns the name of a tensor of the i-th Dense module, from 0."""
    return f"{index + 2}_Dense/{name}"


class _WithProjections:
    """Tensors of a body and of Dense modules; a TensorSource."""

    def __init__(self, body: TensorSource, dense: list[TensorSource]) -> None:
        self._places: dict[str, tuple[TensorSource, str]] = {}
        for source, rename in self._sources(body, dense):
            for name in source.shapes():
                self._places[rename(name)] = source, name

    @staticmethod
    def _sources(
        body: TensorSource, dense: list[TensorSource]
    ) -> Iterator[tuple[TensorSource, Callable[[str], str]]]:
        """Yields sources, each with the function that renames its tensors."""
        yield body, str
        for i, source in enumerate(dense):
            yield source, functools.partial(projection_name, i)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor, without reading it."""
        shapes = {id(s): s.shapes() for s, _ in self._places.values()}
        return {
            name: shapes[id(source)][stored_name]
            for name, (source, stored_name) in self._places.items()
        }

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor as float32."""
        source, stored_name = self._places[name]
        return source.read(stored_name)
