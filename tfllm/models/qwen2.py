"""Qwen 2 and 2.5: LLaMA's stack with biases on queries, keys and values.

Reference: Yang et al., "Qwen2 Technical Report", 2024,
https://arxiv.org/abs/2407.10671.
"""

import functools

from tfllm.models import published_windows, rotary_decoder
from tfllm.models.arguments import without
from tfllm.models.family import Family, class_names, stack_size
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

_SMALL = {"num_kv_heads": 2, "tied": True}
SIZES = {
    "tiny": stack_size(2, 128, 4, intermediate_size=344, **_SMALL),
    "0.5b": stack_size(24, 896, 14, intermediate_size=4864, **_SMALL),
    "1.5b": stack_size(28, 1536, 12, intermediate_size=8960, **_SMALL),
    "7b": stack_size(
        28,
        3584,
        28,
        num_kv_heads=4,
        intermediate_size=18944,
        vocab_size=152064,
    ),
}
END_OF_TEXT = 151643


# The defaults are the 7B model.
config = without(
    functools.partial(
        rotary_decoder.create_rotary_decoder,
        rotary_decoder.RotaryVariant("qwen2", output_bias=False),
        num_layers=28,
        hidden_size=3584,
        num_heads=28,
        vocab_size=151936,
        max_position_embeddings=131072,
        theta=1e6,
        bos_token_id=END_OF_TEXT,
        eos_token_id=END_OF_TEXT,
    ),
    "feed_forward_bias",
    attention_bias=True,
)

# LLaMA's keys, with the defaults of Transformers' Qwen2Config: no model has
# published them all.
PUBLISHED = rotary_decoder.RotaryKeys(
    "qwen2",
    {
        **rotary_decoder.KEYS,
        "vocab_size": ("vocab_size", 151936),
        "intermediate_size": ("intermediate_size", 22016),
        "num_key_value_heads": ("num_kv_heads", 32),
        "max_position_embeddings": ("max_position_embeddings", 32768),
        "bos_token_id": ("bos_token_id", None),
        "eos_token_id": ("eos_token_id", None),
        **published_windows.KEYS,
    },
    fields=rotary_decoder.FIELDS,
)

TOKENIZER = TokenizerSpec(
    kinds=("byte_bpe",),
    # NOTE: the published tokenizer puts nothing between two texts.
    template=RowTemplate(pad="pad", between=("eos",)),
    # One token for all three, as in the published generation_config.json.
    special_tokens=SpecialTokens(
        pad="<|endoftext|>", bos="<|endoftext|>", eos="<|endoftext|>"
    ),
    arguments={"pattern": "qwen2", "normalization": "NFC"},
    classes=("Qwen2Tokenizer",),
)

FAMILY = Family(
    name="qwen2",
    title="Qwen2",
    paper="Yang et al., 2024",
    sizes=SIZES,
    parameters=("0.5b", 494_032_768),
    config=config,
    published=PUBLISHED,
    weights=rotary_decoder.rotary_decoder_weights,
    tokenizer=TOKENIZER,
    prefix="model.",
    prefixes=rotary_decoder.PREFIXES,
    layers=("num_hidden_layers", "model.layers.{}."),
    ignored=lambda _: rotary_decoder.IGNORED,
    tied=rotary_decoder.tied_output,
    architectures=class_names("Qwen2", *rotary_decoder.CLASSES),
)
