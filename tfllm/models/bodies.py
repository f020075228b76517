"""Models without heads: which class a config needs."""

from typing import Any

from tfllm.models.config import TransformerConfig
from tfllm.models.encoder_decoder import EncoderDecoder
from tfllm.models.transformer import Transformer
from tfllm.models.two_stream import TwoStreamTransformer

Body = Transformer | EncoderDecoder


def create_body(config: TransformerConfig, **options: Any) -> Body:
    """Returns the model of a config, without heads.

    Args:
        config: TransformerConfig.
        **options: Keras' own `name`, `dtype` and `trainable`.
    """
    if config.kind == "encoder_decoder":
        return EncoderDecoder(config, **options)
    if config.stack.two_stream is not None:
        return TwoStreamTransformer(config, **options)
    return Transformer(config, **options)
