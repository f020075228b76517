"""Mistral 7B and Nemo 12B: LLaMA's stack with a sliding window.

Reference: Jiang et al., "Mistral 7B", 2023, https://arxiv.org/abs/2310.06825.
"""

import functools

from tfllm.models import published_windows, rotary_decoder
from tfllm.models.arguments import without
from tfllm.models.family import Family, class_names, stack_size
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

_FIRST = {"num_kv_heads": 8, "intermediate_size": 14336}
_LATER = {**_FIRST, "window": None, "theta": 1e6}
SIZES = {
    "tiny": stack_size(2, 128, 4, num_kv_heads=2, intermediate_size=344),
    "7b_v0.1": stack_size(32, 4096, 32, **_FIRST),
    "7b_v0.2": stack_size(32, 4096, 32, **_LATER),
    "7b_v0.3": stack_size(32, 4096, 32, vocab_size=32768, **_LATER),
    "nemo_12b": stack_size(
        40,
        5120,
        32,
        head_dim=128,
        vocab_size=131072,
        max_position_embeddings=131072,
        **_LATER,
    ),
}


# The defaults are those of the first model.
config = without(
    functools.partial(
        rotary_decoder.create_rotary_decoder,
        rotary_decoder.RotaryVariant("mistral"),
        max_position_embeddings=32768,
        epsilon=1e-5,
        window=4096,
    ),
    "attention_bias",
    "feed_forward_bias",
    "full_attention_layers",
)

# LLaMA's keys, with the defaults of Transformers' MistralConfig, which differ
# from the published sizes.
PUBLISHED = rotary_decoder.RotaryKeys(
    "mistral",
    {
        **rotary_decoder.KEYS,
        "intermediate_size": ("intermediate_size", 14336),
        "num_key_value_heads": ("num_kv_heads", 8),
        "max_position_embeddings": ("max_position_embeddings", 131072),
        "sliding_window": published_windows.KEYS["sliding_window"],
    },
    fields=rotary_decoder.FIELDS,
)

TOKENIZER = TokenizerSpec(
    # Byte-level BPE is that of Nemo.
    kinds=("sentence_piece", "byte_bpe"),
    # NOTE: the published tokenizers open the second text as well.
    template=RowTemplate(pad="eos", opens=("bos",), between=("bos",)),
    special_tokens=SpecialTokens(unk="<unk>", bos="<s>", eos="</s>"),
    classes=("LlamaTokenizer", "PreTrainedTokenizerFast"),
)

FAMILY = Family(
    name="mistral",
    title="Mistral",
    paper="Jiang et al., 2023",
    sizes=SIZES,
    parameters=("7b_v0.1", 7_241_732_096),
    config=config,
    published=PUBLISHED,
    weights=rotary_decoder.rotary_decoder_weights,
    tokenizer=TOKENIZER,
    prefix="model.",
    layers=("num_hidden_layers", "model.layers.{}."),
    ignored=lambda _: rotary_decoder.IGNORED,
    tied=rotary_decoder.tied_output,
    architectures=class_names("Mistral", *rotary_decoder.CLASSES),
)
