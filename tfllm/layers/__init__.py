"""Keras layers for transformer blocks: pure `keras.ops`, any backend.

Only `fused.py` asks for the backend: it hands elementwise work to XLA.

Axis legend, used in every shape comment and einsum:

    B batch            T query length      S key length
    N query heads      K key/value heads   G = N / K
    H head_dim         D hidden_size       F intermediate_size
    V vocab_size       P gathered positions
"""

from tfllm.layers.attention import Attention
from tfllm.layers.block import TransformerBlock
from tfllm.layers.config import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    NormConfig,
)
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.embeddings import Embeddings
from tfllm.layers.feed_forward import FeedForward
from tfllm.layers.heads import (
    DetectionHead,
    DetectionHeadConfig,
    MaskedLMHead,
    MaskedLMHeadConfig,
    Pooler,
    PoolerConfig,
    TaskHeadConfig,
)
from tfllm.layers.kv_cache import Cache, KVCache, Memory
from tfllm.layers.linear import Linear
from tfllm.layers.normalization import Norm
from tfllm.layers.output_head import OutputHead, OutputHeadConfig
from tfllm.layers.position_config import (
    DynamicScaling,
    LearnedPositionsConfig,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RelativeBiasConfig,
    RotaryConfig,
    SinusoidalPositionsConfig,
    YarnScaling,
)
from tfllm.layers.positions import (
    LearnedPositions,
    RelativeBias,
    SinusoidalPositions,
)

__all__ = [
    "Attention",
    "AttentionConfig",
    "BlockConfig",
    "Cache",
    "ConfiguredLayer",
    "DetectionHead",
    "DetectionHeadConfig",
    "Dropout",
    "DynamicScaling",
    "EmbeddingConfig",
    "Embeddings",
    "FeedForward",
    "FeedForwardConfig",
    "KVCache",
    "LearnedPositions",
    "LearnedPositionsConfig",
    "Linear",
    "LinearScaling",
    "Llama3Scaling",
    "LongRopeScaling",
    "MaskedLMHead",
    "MaskedLMHeadConfig",
    "Memory",
    "Norm",
    "NormConfig",
    "OutputHead",
    "OutputHeadConfig",
    "Pooler",
    "PoolerConfig",
    "RelativeBias",
    "RelativeBiasConfig",
    "RotaryConfig",
    "SinusoidalPositions",
    "SinusoidalPositionsConfig",
    "TaskHeadConfig",
    "TransformerBlock",
    "YarnScaling",
]
