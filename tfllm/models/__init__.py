"""Model families on one configurable stack: pure Keras, any backend."""

from tfllm.models import (
    albert,
    bert,
    distilbert,
    gpt2,
    llama,
    qwen2,
    roberta,
    xlm_roberta,
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
    "albert": albert.FAMILY,
    "bert": bert.FAMILY,
    "distilbert": distilbert.FAMILY,
    "gpt2": gpt2.FAMILY,
    "llama": llama.FAMILY,
    "qwen2": qwen2.FAMILY,
    "roberta": roberta.FAMILY,
    "xlm-roberta": xlm_roberta.FAMILY,
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
