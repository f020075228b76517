"""ELECTRA: an encoder that learns which tokens were replaced.

Reference: Clark et al., "ELECTRA: Pre-training Text Encoders as
Discriminators Rather Than Generators", ICLR 2020,
https://arxiv.org/abs/2003.10555.
"""

import dataclasses
import functools

from tfllm.layers.heads import DetectionHeadConfig
from tfllm.models import bert, post_norm_encoder
from tfllm.models.arguments import extended, without
from tfllm.models.config import TransformerConfig
from tfllm.models.family import LABELLED, Family, class_names, stack_size
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.weight_map import Weight

# The generator that was published beside the small model has its size.
SIZES = {
    "tiny": stack_size(2, 128, 2, embedding_size=64),
    "small": stack_size(12, 256, 4, embedding_size=128),
    "base": stack_size(12, 768, 12),
    "large": stack_size(24, 1024, 16),
    "base_generator": stack_size(12, 256, 4, embedding_size=768),
    "large_generator": stack_size(24, 256, 4, embedding_size=1024),
}


def _with_own_parts(
    config: TransformerConfig,
    *,
    summary_dropout: float = 0.1,
) -> TransformerConfig:
    """Returns an encoder with a head that detects replaced tokens.

    Args:
        config: Config of the encoder.
        summary_dropout: Rate on the input of the head for choices.
    """
    return dataclasses.replace(
        config,
        detection_head=DetectionHeadConfig(
            config.hidden_size,
            config.block.feed_forward.activation,
            config.embeddings.initializer_range,
        ),
        task_head=dataclasses.replace(
            config.task_head, choice_dropout=summary_dropout
        ),
    )


# The defaults are ELECTRA-Base, uncased.
config = extended(
    without(
        functools.partial(
            post_norm_encoder.create_encoder,
            # NOTE: "gelu" in these heads, whatever the activation of the
            # blocks.
            post_norm_encoder.EncoderVariant(
                "electra",
                masked_lm_activation="gelu",
                sequence_dense="gelu",
                pooler_activation="gelu",
            ),
        ),
        "num_groups",
        "group_size",
    ),
    _with_own_parts,
)

# The defaults are those of Transformers, which are the small size.
PUBLISHED = PublishedKeys(
    "electra",
    {
        **post_norm_encoder.KEYS,
        "embedding_size": ("embedding_size", 128),
        "hidden_size": ("hidden_size", 256),
        "num_attention_heads": ("num_heads", 4),
        "intermediate_size": ("intermediate_size", 1024),
        "summary_last_dropout": ("summary_dropout", 0.1),
        "pad_token_id": ("pad_token_id", 0),
    },
    fixed=post_norm_encoder.FIXED,
    invariants={
        "summary_type": "first",
        "summary_use_proj": True,
        "summary_activation": "gelu",
        "tie_word_embeddings": True,
    },
    constants=post_norm_encoder.CONSTANTS,
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the encoder and all heads."""
    table = post_norm_encoder.encoder_table("electra", config, has_pooler=False)
    if config.embeddings.projection is not None:
        table.dense(
            "electra.embeddings_project", "transformer.embeddings.projection"
        )
    table.tensor("generator_lm_head.bias", "masked_lm_head.bias")
    part = table.part("generator_predictions", "masked_lm_head")
    part.dense("dense", "dense")
    part.norm("LayerNorm", "norm")
    part = table.part("discriminator_predictions", "detection_head")
    part.dense("dense", "dense")
    part.dense("dense_prediction", "classifier")
    table.dense("classifier.dense", "sequence_dense")
    table.dense("sequence_summary.summary", "pooler.dense")
    table.heads(sequence="classifier.out_proj")
    return table.rows


FAMILY = Family(
    name="electra",
    title="ELECTRA",
    paper="Clark et al., 2020",
    sizes=SIZES,
    parameters=("small", 13_546_682),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=dataclasses.replace(
        bert.TOKENIZER, classes=("BertTokenizer", "ElectraTokenizer")
    ),
    prefix="electra.",
    layers=("num_hidden_layers", "electra.encoder.layer.{}."),
    ignored=lambda _: (r"electra\.embeddings\.(position_ids|token_type_ids)",),
    tied=lambda _: {
        "generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"
    },
    architectures=class_names(
        "Electra",
        "masked_lm",
        "encoder",
        *LABELLED,
        replaced_token_detection="ElectraForPreTraining",
    ),
)
