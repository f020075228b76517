"""ALBERT: BERT with one block for all layers and narrow token tables.

Reference: Lan et al., "ALBERT: A Lite BERT for Self-supervised Learning of
Language Representations", ICLR 2020, https://arxiv.org/abs/1909.11942.
"""

import dataclasses
import functools

from tfllm.models import bert, post_norm_encoder
from tfllm.models.config import TransformerConfig
from tfllm.models.family import LABELLED, Family, class_names, stack_size
from tfllm.models.published_keys import FIELDS, PublishedKeys
from tfllm.models.weight_map import Weight
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens

_PUBLISHED_SIZES = {
    "base": stack_size(12, 768, 12),
    "large": stack_size(24, 1024, 16),
    "xlarge": stack_size(24, 2048, 16),
    "xxlarge": stack_size(12, 4096, 64),
}
# Version 1 has the exact GELU, and dropout but for the largest size.
_V1 = {"activation": "gelu", "dropout": 0.1}
SIZES = {
    "tiny": stack_size(2, 128, 2, embedding_size=32),
    **_PUBLISHED_SIZES,
    **{f"{name}_v1": size | _V1 for name, size in _PUBLISHED_SIZES.items()},
    "xxlarge_v1": _PUBLISHED_SIZES["xxlarge"] | {"activation": "gelu"},
}


# The defaults are ALBERT-Base, version 2.
config = functools.partial(
    post_norm_encoder.create_encoder,
    post_norm_encoder.EncoderVariant(
        "albert", pair_objective="sop", always_projects=True
    ),
    vocab_size=30000,
    embedding_size=128,
    num_groups=1,
    activation="gelu_tanh",
    dropout=0.0,
    classifier_dropout=0.1,
    bos_token_id=2,
    eos_token_id=3,
)

_KEYS = dict(post_norm_encoder.KEYS)
del _KEYS["classifier_dropout"]  # Its key has another name.
PUBLISHED = PublishedKeys(
    "albert",
    {
        **_KEYS,
        "vocab_size": ("vocab_size", 30000),
        "embedding_size": ("embedding_size", 128),
        "hidden_size": ("hidden_size", 4096),
        "num_hidden_layers": ("num_layers", 12),
        "num_hidden_groups": ("num_groups", 1),
        "inner_group_num": ("group_size", 1),
        "num_attention_heads": ("num_heads", 64),
        "intermediate_size": ("intermediate_size", 16384),
        "hidden_act": ("activation", "gelu_new"),
        "hidden_dropout_prob": ("dropout", 0.0),
        "attention_probs_dropout_prob": ("attention_dropout", 0.0),
        "classifier_dropout_prob": ("classifier_dropout", 0.1),
        "bos_token_id": ("bos_token_id", 2),
        "eos_token_id": ("eos_token_id", 3),
        "pad_token_id": ("pad_token_id", 0),
    },
    invariants={"tie_word_embeddings": True},
    fields={"num_layers": FIELDS["num_group_calls"]},
)
_TABLE = "albert.embeddings.word_embeddings.weight"


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the encoder and all heads."""
    table = post_norm_encoder.embedding_table("albert", config)
    table.dense(
        "albert.encoder.embedding_hidden_mapping_in",
        "transformer.embeddings.projection",
    )
    for i in range(config.stack.num_blocks):
        group, place = divmod(i, config.stack.group_size)
        part = table.part(
            f"albert.encoder.albert_layer_groups.{group}.albert_layers.{place}",
            f"transformer.blocks.{i}",
        )
        names = ("query", "key", "value", "dense")
        part.attention(config.block.attention, "attention.", names)
        part.norm("attention.LayerNorm", "attention_norm")
        part.dense("ffn", "feed_forward.up")
        part.dense("ffn_output", "feed_forward.down")
        part.norm("full_layer_layer_norm", "feed_forward_norm")
    table.dense("albert.pooler", "pooler.dense")
    part = table.part("predictions", "masked_lm_head")
    part.tensor("bias", "bias")
    part.dense("dense", "dense")
    part.norm("LayerNorm", "norm")
    table.dense("sop_classifier.classifier", "sequence_head")
    table.heads()
    return table.rows


TOKENIZER = dataclasses.replace(
    bert.TOKENIZER,
    kinds=("sentence_piece",),
    special_tokens=SpecialTokens(
        "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "[CLS]", "[SEP]"
    ),
    added_tokens=(AddedToken("[MASK]", lstrip=True, special=True),),
    training={
        "model_type": "unigram",
        "normalization": "nmt_nfkc_cf",
        "byte_fallback": False,
        "cleaned_as": "AlbertTokenizer",
    },
    classes=("AlbertTokenizer",),
)

FAMILY = Family(
    name="albert",
    title="ALBERT",
    paper="Lan et al., 2020",
    sizes=SIZES,
    parameters=("base", 11_813_810),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TOKENIZER,
    prefix="albert.",
    layers=("num_hidden_groups", "albert.encoder.albert_layer_groups.{}."),
    ignored=lambda _: (r"albert\.embeddings\.(position_ids|token_type_ids)",),
    tied=lambda _: {
        "predictions.decoder.weight": _TABLE,
        "predictions.decoder.bias": "predictions.bias",
    },
    architectures=class_names(
        "Albert", "pretraining", "masked_lm", "encoder", *LABELLED
    ),
)
