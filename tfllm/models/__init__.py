"""Model families on one configurable stack: pure Keras, any backend."""

from tfllm.models import bert
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, Weight
from tfllm.models.transformer import PretrainingModel, Transformer

FAMILIES: dict[str, Family] = {"bert": bert.FAMILY}

__all__ = [
    "FAMILIES",
    "Family",
    "PretrainingModel",
    "Transformer",
    "TransformerConfig",
    "Weight",
]
