"""TF1 checkpoints: variables by name, and the JSON file of a model's config.

    model_config.json   model.ckpt.{index,data-*}

A checkpoint may have any name, such as model.ckpt-1000. Paths are its prefix,
or its folder if it is the only one there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm import file_access
from tfllm.interop.tensor_files import shortened

_INDEX = ".index"
_SHOWN = 5  # checkpoints listed in a message
_STATE = re.compile(r"global_step|.*/(adam|lamb)_[mv](_\d+)?|.*/Adam(_\d+)?")
# TensorFlow Hub puts the variables of a module into this scope.
_SCOPE = "module/"


class Tf1Checkpoint:
    """The tensors of a TF1 checkpoint under their published names.

    Variables of optimizers are left out. A variable without a published name
    keeps its own.

    Args:
        prefix: Path up to `.index`.
        names: TF1 name -> published name.

    Raises:
        ValueError: The checkpoint is missing or damaged.
    """

    def __init__(self, prefix: str, names: Mapping[str, str]) -> None:
        self._prefix = prefix
        try:
            self._reader = tf.train.load_checkpoint(prefix)
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"'{prefix}' must be a TF1 checkpoint. "
                f"Received: {str(error).splitlines()[0]}. Name its folder."
            ) from error
        self._stored = {
            names.get(name.removeprefix(_SCOPE), name): name
            for name in self._reader.get_variable_to_shape_map()
            if not _STATE.fullmatch(name)
        }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each tensor in the published layout."""
        stored = self._reader.get_variable_to_shape_map()
        return {
            name: tuple(stored[tf1][:: self._step(tf1)])
            for name, tf1 in self._stored.items()
        }

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor as float32, in the layout that Transformers uses.

        Raises:
            ValueError: The data of the checkpoint are damaged.
        """
        stored = self._stored[name]
        tensor = read_variable(self._reader, self._prefix, stored)
        return tensor.T if self._step(stored) == -1 else tensor

    @staticmethod
    def _step(name: str) -> int:
        """Returns the slice step of a shape: -1 reverses a transposed one."""
        return -1 if name.endswith("/kernel") else 1


def read_variable(reader: Any, prefix: str, name: str) -> np.ndarray:
    """Returns a variable of a checkpoint as float32.

    Args:
        reader: Of `tf.train.load_checkpoint`.
        prefix: Of the checkpoint, for messages.
        name: Name or key of the variable.

    Raises:
        ValueError: The data of the checkpoint are damaged.
    """
    try:
        return np.asarray(reader.get_tensor(name), np.float32)
    # It raises an IndexError where a file ends too early.
    except (tf.errors.OpError, LookupError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"'{prefix}' must be a whole checkpoint. Received: "
            f"{str(error).splitlines()[0]}, in {name}. Fetch its files again."
        ) from error


def variables_of(path: str) -> Collection[str]:
    """Returns the names of the variables at a path; empty if there are none.

    Args:
        path: Prefix of a checkpoint, or a folder with one.
    """
    try:
        reader = tf.train.load_checkpoint(prefix_of(path))
    except (ValueError, RuntimeError, tf.errors.OpError):
        return ()
    names = reader.get_variable_to_shape_map()
    return {name.removeprefix(_SCOPE) for name in names}


def prefix_of(path: str) -> str:
    """Returns the prefix of a checkpoint.

    Args:
        path: The prefix, or a folder with one checkpoint.

    Raises:
        ValueError: The folder has no checkpoint, or several.
    """
    if not tf.io.gfile.isdir(path):
        return path.removesuffix(_INDEX)
    names = names_ending_in(path, _INDEX)
    if not names:
        raise ValueError(
            f"{path!r} must be a folder with a TF1 checkpoint, or the prefix "
            f"of one. Received: no file that ends in {_INDEX}. Name the folder "
            "that has it."
        )
    prefixes = [file_access.join(path, n.removesuffix(_INDEX)) for n in names]
    if len(names) > 1:
        raise ValueError(
            f"{path!r} must have one TF1 checkpoint. Received: "
            f"{len(names)}, {', '.join(prefixes[:_SHOWN])}. Give one of these "
            "instead of the folder."
        )
    return prefixes[0]


def folder_of(prefix: str) -> str:
    """Returns the folder of a checkpoint."""
    return prefix.rpartition("/")[0] or "."


def names_ending_in(folder: str, ending: str) -> list[str]:
    """Returns the file names with an ending, sorted; empty without folder."""
    if not tf.io.gfile.isdir(folder):
        return []
    names = tf.io.gfile.listdir(folder)
    return sorted(name for name in names if name.endswith(ending))


def read_values(folder: str, file: str) -> dict[str, Any]:
    """Returns the content of the config of a checkpoint.

    Args:
        folder: Local or remote folder.
        file: Name of the config. Without it the only other JSON file is read.

    Raises:
        ValueError: The file is missing or damaged.
    """
    path = file_access.join(folder, file)
    if not file_access.exists(path):
        names = names_ending_in(folder, ".json")
        if len(names) != 1:
            raise ValueError(
                f"`input` must have a {file}, or one other JSON file. "
                f"Received: {folder!r} with {shortened(names) or 'none'}. Name "
                f"the one that came with the checkpoint {file}."
            )
        path = file_access.join(folder, names[0])
    try:
        with file_access.open_binary(path) as stream:
            return dict(json.loads(stream.read()))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"'{path}' must be a JSON object. Received: {error}. Correct it."
        ) from error


def head_of(
    names: Collection[str],
    masked_lm: str = "cls.predictions.bias",
    pair: str = "cls.seq_relationship.weight",
) -> str:
    """Returns the key of `Family.architectures` of published tensors.

    Args:
        names: Published names.
        masked_lm: A tensor of the masked-LM head.
        pair: A tensor of the head of two sentences.
    """
    if masked_lm not in names:
        return "encoder"
    return "pretraining" if pair in names else "masked_lm"
