"""RoBERTa: BERT without sentence pairs, masked anew in every epoch.

Reference: Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining
Approach", 2019, https://arxiv.org/abs/1907.11692.
"""

import functools
from typing import Any

from tfllm.models import post_norm_encoder
from tfllm.models.arguments import without
from tfllm.models.config import TransformerConfig
from tfllm.models.family import LABELLED, Family, class_names, stack_size
from tfllm.models.published_keys import FIELDS, PublishedKeys
from tfllm.models.weight_map import Weight
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "base": stack_size(12, 768, 12),
    "large": stack_size(24, 1024, 16),
}


VARIANT = post_norm_encoder.EncoderVariant(
    "roberta",
    positions_after_padding=True,
    # NOTE: the activation of the head is "gelu" whatever that of the blocks.
    masked_lm_activation="gelu",
    sequence_dense="tanh",
)
# Those of XLM-RoBERTa as well.
DEFAULTS: dict[str, Any] = {
    "max_position_embeddings": 514,
    "num_segments": 1,
    "epsilon": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
# The defaults are RoBERTa-Base.
config = without(
    functools.partial(
        post_norm_encoder.create_encoder,
        VARIANT,
        vocab_size=50265,
        **DEFAULTS,
    ),
    *post_norm_encoder.OPTIONAL,
)

PUBLISHED = PublishedKeys(
    "roberta",
    {
        **post_norm_encoder.KEYS,
        "vocab_size": ("vocab_size", 50265),
        "bos_token_id": ("bos_token_id", 0),
        "eos_token_id": ("eos_token_id", 2),
        "pad_token_id": ("pad_token_id", 1),
    },
    fixed=post_norm_encoder.FIXED,
    invariants={"tie_word_embeddings": True},
    constants=post_norm_encoder.CONSTANTS,
    fields={"max_position_embeddings": FIELDS["position_rows"]},
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the encoder and all heads."""
    table = post_norm_encoder.encoder_table("roberta", config)
    part = table.part("lm_head", "masked_lm_head")
    part.tensor("bias", "bias")
    part.dense("dense", "dense")
    part.norm("layer_norm", "norm")
    table.dense("classifier.dense", "sequence_dense")
    table.heads(sequence="classifier.out_proj")
    return table.rows


TOKENIZER = TokenizerSpec(
    kinds=("byte_bpe",),
    template=RowTemplate(
        pad="pad", opens=("cls",), between=("sep", "sep"), closes=("sep",)
    ),
    special_tokens=SpecialTokens(
        pad="<pad>",
        unk="<unk>",
        cls="<s>",
        sep="</s>",
        mask="<mask>",
        bos="<s>",
        eos="</s>",
    ),
    special_first=True,
    added_tokens=(AddedToken("<mask>", lstrip=True, special=True),),
    classes=("RobertaTokenizer",),
)

FAMILY = Family(
    name="roberta",
    title="RoBERTa",
    paper="Liu et al., 2019",
    sizes=SIZES,
    parameters=("base", 124_697_433),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TOKENIZER,
    prefix="roberta.",
    layers=("num_hidden_layers", "roberta.encoder.layer.{}."),
    ignored=lambda _: (r"roberta\.embeddings\.(position_ids|token_type_ids)",),
    tied=lambda _: {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    architectures=class_names("Roberta", "masked_lm", "encoder", *LABELLED),
)
