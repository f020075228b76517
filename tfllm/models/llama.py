"""LLaMA 1 to 3.2.

Reference: Touvron et al., "LLaMA: Open and Efficient Foundation Language
Models", 2023, https://arxiv.org/abs/2302.13971; Touvron et al., "Llama 2",
2023, https://arxiv.org/abs/2307.09288; Grattafiori et al., "The Llama 3 Herd
of Models", 2024, https://arxiv.org/abs/2407.21783.
"""

import functools

from tfllm.layers.position_config import Llama3Scaling
from tfllm.models import rotary_decoder
from tfllm.models.arguments import without
from tfllm.models.family import Family, class_names, stack_size
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

_SECOND = {"max_position_embeddings": 4096, "epsilon": 1e-5}
_THIRD = {
    "num_kv_heads": 8,
    "vocab_size": 128256,
    "theta": 5e5,
    "epsilon": 1e-5,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
}
_LONG = {**_THIRD, "max_position_embeddings": 131072}
_SMALL = {**_LONG, "scaling": Llama3Scaling(32.0, 8192), "tied": True}
_MEDIUM = {**_LONG, "scaling": Llama3Scaling(8.0, 8192)}
SIZES = {
    "tiny": stack_size(2, 128, 4, num_kv_heads=2, intermediate_size=344),
    "7b": stack_size(32, 4096, 32, intermediate_size=11008),
    "13b": stack_size(40, 5120, 40, intermediate_size=13824),
    "2_7b": stack_size(32, 4096, 32, intermediate_size=11008, **_SECOND),
    "2_13b": stack_size(40, 5120, 40, intermediate_size=13824, **_SECOND),
    "3_8b": stack_size(
        32,
        4096,
        32,
        intermediate_size=14336,
        max_position_embeddings=8192,
        **_THIRD,
    ),
    "3.1_8b": stack_size(32, 4096, 32, intermediate_size=14336, **_MEDIUM),
    "3.2_1b": stack_size(16, 2048, 32, intermediate_size=8192, **_SMALL),
    "3.2_3b": stack_size(28, 3072, 24, intermediate_size=8192, **_SMALL),
}

# The defaults are those of the first model, 7B.
config = without(
    functools.partial(
        rotary_decoder.create_rotary_decoder,
        rotary_decoder.RotaryVariant("llama"),
    ),
    "window",
    "full_attention_layers",
)

PUBLISHED = rotary_decoder.RotaryKeys(
    "llama",
    {
        **rotary_decoder.KEYS,
        "attention_bias": ("attention_bias", False),
        "mlp_bias": ("feed_forward_bias", False),
    },
    fields=rotary_decoder.FIELDS,
)

TOKENIZER = TokenizerSpec(
    # A new vocabulary is of the kind of LLaMA 3.
    kinds=("byte_bpe", "sentence_piece"),
    # NOTE: the published tokenizers open the second text as well.
    template=RowTemplate(pad="eos", opens=("bos",), between=("bos",)),
    special_tokens=SpecialTokens(
        bos="<|begin_of_text|>", eos="<|end_of_text|>"
    ),
    # Of LLaMA 3.
    arguments={"pattern": "llama3"},
    classes=("LlamaTokenizer", "PreTrainedTokenizerFast"),
)

FAMILY = Family(
    name="llama",
    title="LLaMA",
    paper="Touvron et al., 2023",
    sizes=SIZES,
    parameters=("3.2_1b", 1_235_814_400),
    config=config,
    published=PUBLISHED,
    weights=rotary_decoder.rotary_decoder_weights,
    tokenizer=TOKENIZER,
    prefix="model.",
    prefixes=rotary_decoder.PREFIXES,
    layers=("num_hidden_layers", "model.layers.{}."),
    ignored=lambda _: rotary_decoder.IGNORED,
    tied=rotary_decoder.tied_output,
    architectures=class_names("Llama", *rotary_decoder.CLASSES),
)
