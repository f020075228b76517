"""Model families on one configurable stack: pure Keras, any backend."""

from tfllm.models import bert, gpt2
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, Weight
from tfllm.models.task_models import (
    ChoiceModel,
    EmbeddingModel,
    SequenceModel,
    SpanModel,
    TokenModel,
)
from tfllm.models.transformer import (
    LanguageModel,
    PretrainingModel,
    Transformer,
)

FAMILIES: dict[str, Family] = {"bert": bert.FAMILY, "gpt2": gpt2.FAMILY}

__all__ = [
    "FAMILIES",
    "ChoiceModel",
    "EmbeddingModel",
    "Family",
    "LanguageModel",
    "PretrainingModel",
    "SequenceModel",
    "SpanModel",
    "TokenModel",
    "Transformer",
    "TransformerConfig",
    "Weight",
]
