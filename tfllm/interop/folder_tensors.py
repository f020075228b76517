"""Opens the weights of a model folder: safetensors, or torch files."""

import pathlib

from tfllm.interop import tensor_files, torch_files
from tfllm.interop.tensor_files import SafetensorsFolder
from tfllm.interop.torch_files import TorchFolder
from tfllm.models.weight_map import TensorSource


def has_tensors(folder: pathlib.Path) -> bool:
    """Returns whether a folder has weights that can be read."""
    return tensor_files.has_tensors(folder) or torch_files.has_tensors(folder)


def open_tensors(folder: pathlib.Path) -> TensorSource:
    """Opens the weights of a folder; safetensors come first.

    Raises:
        ValueError: The folder has no weights, or a file is missing or
            damaged, or is a pickle of anything but tensors.
    """
    if not tensor_files.has_tensors(folder) and torch_files.has_tensors(folder):
        return TorchFolder(folder)
    return SafetensorsFolder(folder)
