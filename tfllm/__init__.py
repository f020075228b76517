"""Language models for TensorFlow: from raw text to a served model."""

import importlib
from typing import TYPE_CHECKING, Any

from tfllm.version import __version__ as __version__

if TYPE_CHECKING:
    from tfllm import data, layers, models, tasks, tokenizers
    from tfllm.interop.model_folder import load, save
    from tfllm.prediction.pipelines import pipeline

__all__ = [
    "data",
    "layers",
    "load",
    "models",
    "pipeline",
    "save",
    "tasks",
    "tokenizers",
]

# Function of the package -> its module.
_FUNCTIONS = {
    "load": "tfllm.interop.model_folder",
    "pipeline": "tfllm.prediction.pipelines",
    "save": "tfllm.interop.model_folder",
}


def __getattr__(name: str) -> Any:
    """Imports names that need TensorFlow on their first use."""
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists all names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
