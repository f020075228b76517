"""Model families on one configurable stack: pure Keras, any backend."""

from tfllm.models import (
    albert,
    bart,
    bert,
    distilbert,
    electra,
    fsmt,
    gpt2,
    llama,
    marian,
    mistral,
    mt5,
    openai_gpt,
    opt,
    qwen2,
    roberta,
    t5,
    xlm_roberta,
    xlnet,
)
from tfllm.models.bodies import create_body
from tfllm.models.config import TransformerConfig
from tfllm.models.detection_model import DetectionModel
from tfllm.models.encoder_decoder import EncoderDecoder
from tfllm.models.family import Family
from tfllm.models.language_model import LanguageModel
from tfllm.models.permutation_model import PermutationModel
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
from tfllm.models.two_stream import TwoStreamTransformer
from tfllm.models.weight_map import Weight

FAMILIES: dict[str, Family] = {
    "albert": albert.FAMILY,
    "bart": bart.FAMILY,
    "bert": bert.FAMILY,
    "distilbert": distilbert.FAMILY,
    "electra": electra.FAMILY,
    "fsmt": fsmt.FAMILY,
    "gpt2": gpt2.FAMILY,
    "llama": llama.FAMILY,
    "marian": marian.FAMILY,
    "mistral": mistral.FAMILY,
    "mt5": mt5.FAMILY,
    "openai-gpt": openai_gpt.FAMILY,
    "opt": opt.FAMILY,
    "qwen2": qwen2.FAMILY,
    "roberta": roberta.FAMILY,
    "t5": t5.FAMILY,
    "xlm-roberta": xlm_roberta.FAMILY,
    "xlnet": xlnet.FAMILY,
}

__all__ = [
    "FAMILIES",
    "ChoiceModel",
    "DetectionModel",
    "EmbeddingModel",
    "EncoderDecoder",
    "Family",
    "LanguageModel",
    "PermutationModel",
    "PretrainingModel",
    "SequenceModel",
    "SpanModel",
    "StackConfig",
    "TokenModel",
    "Transformer",
    "TransformerConfig",
    "TwoStreamTransformer",
    "Weight",
    "create_body",
]
