"""Model families on one configurable stack: pure Keras, any backend."""

from tfllm.models import (
    bert,
    gpt2,
    llama,
    mistral,
    openai_gpt,
    opt,
    qwen2,
    roberta,
)
from tfllm.models.config import TransformerConfig
from tfllm.models.encoder_decoder import EncoderDecoder
from tfllm.models.family import Family
from tfllm.models.language_model import LanguageModel
from tfllm.models.pretraining_model import PretrainingModel
from tfllm.models.stack_config import StackConfig
from tfllm.models.task_models import (
    ChoiceModel,
    EmbeddingModel,
    SequenceModel,
    SpanModel,
    TokenModel,
)
from tfllm.models.transformer import Transformer
from tfllm.models.weight_map import Weight

FAMILIES: dict[str, Family] = {
    "bert": bert.FAMILY,
    "gpt2": gpt2.FAMILY,
    "llama": llama.FAMILY,
    "mistral": mistral.FAMILY,
    "openai-gpt": openai_gpt.FAMILY,
    "opt": opt.FAMILY,
    "qwen2": qwen2.FAMILY,
    "roberta": roberta.FAMILY,
}

__all__ = [
    "FAMILIES",
    "ChoiceModel",
    "EmbeddingModel",
    "EncoderDecoder",
    "Family",
    "LanguageModel",
    "PretrainingModel",
    "SequenceModel",
    "SpanModel",
    "StackConfig",
    "TokenModel",
    "Transformer",
    "TransformerConfig",
    "Weight",
]
