"""Raw text to batches: corpora, vocabularies, pretraining, labelled data."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfllm.data.causal.config import CausalDataConfig
    from tfllm.data.denoising.config import DenoisingDataConfig
    from tfllm.data.labelled.config import LabelledDataConfig
    from tfllm.data.masked.config import MaskedDataConfig
    from tfllm.data.open_data import open_data as open  # noqa: A004

__all__ = [
    "CausalDataConfig",
    "DenoisingDataConfig",
    "LabelledDataConfig",
    "MaskedDataConfig",
    "open",
]

# Public name -> module, and its name there.
_PLACES = {
    "CausalDataConfig": ("tfllm.data.causal.config", "CausalDataConfig"),
    "DenoisingDataConfig": (
        "tfllm.data.denoising.config",
        "DenoisingDataConfig",
    ),
    "LabelledDataConfig": ("tfllm.data.labelled.config", "LabelledDataConfig"),
    "MaskedDataConfig": ("tfllm.data.masked.config", "MaskedDataConfig"),
    "open": ("tfllm.data.open_data", "open_data"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use: `open` needs TensorFlow."""
    if name in _PLACES:
        module, attribute = _PLACES[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists all names, also those not imported yet."""
    return sorted({*globals(), *__all__})
