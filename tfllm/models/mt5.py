"""mT5: T5 1.1 over a vocabulary of 101 languages.

Reference: Xue et al., "mT5: A Massively Multilingual Pre-trained Text-to-Text
Transformer", 2021, https://arxiv.org/abs/2010.11934.
"""

import dataclasses
import functools

from tfllm.models import relative_encoder_decoder as shared
from tfllm.models import t5
from tfllm.models.family import class_names, stack_size

SIZES = {
    "tiny": stack_size(2, 128, 4, head_dim=32, intermediate_size=256),
    "small": stack_size(8, 512, 6),
    "base": stack_size(12, 768, 12, intermediate_size=2048),
    "large": stack_size(24, 1024, 16, intermediate_size=2816),
    "xl": stack_size(24, 2048, 32, intermediate_size=5120),
    "xxl": stack_size(24, 4096, 64, intermediate_size=10240),
}

# The defaults are those of mT5-small.
config = functools.partial(
    shared.create_relative_encoder_decoder,
    "mt5",
    False,
    num_layers=8,
    num_heads=6,
    intermediate_size=1024,
    vocab_size=250112,
    activation="gelu_tanh",
    gated=True,
    tied=False,
    decoder_start_token_id=0,
)

FAMILY = dataclasses.replace(
    t5.FAMILY,
    name="mt5",
    title="mT5",
    paper="Xue et al., 2021",
    sizes=SIZES,
    parameters=("small", 300_176_768),
    config=config,
    published=shared.RelativeKeys(
        "mt5",
        shared.KEYS
        | {
            "vocab_size": ("vocab_size", 250112),
            "d_ff": ("intermediate_size", 1024),
            "num_layers": ("num_layers", 8),
            "num_heads": ("num_heads", 6),
            "dense_act_fn": ("activation", "gelu_new"),
            "is_gated_act": ("gated", True),
            "decoder_start_token_id": ("decoder_start_token_id", 0),
            # NOTE: false in published files; Transformers 5 writes true for
            # every mT5, and the tensors say whether it is.
            "tie_word_embeddings": ("tied", True),
        },
        fixed={"is_decoder": False},
        constants={
            "is_encoder_decoder": True,
            "feed_forward_proj": "gated-gelu",
        },
        fields=shared.FIELDS,
    ),
    architectures=class_names(
        "MT5", "seq2seq_lm", "encoder_decoder", encoder="MT5EncoderModel"
    ),
)
