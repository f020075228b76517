"""Encoders with learned positions and post-norm blocks, as BERT.

What their families share: `config()`, config.json and the names of weights.
"""

import dataclasses
from typing import Any

from tfllm.layers.config import Activation, NormConfig
from tfllm.layers.position_config import LearnedPositionsConfig
from tfllm.models.config import PairObjective, TransformerConfig
from tfllm.models.stacks import create_stack, encoder_heads, special_ids
from tfllm.models.weight_map import WeightTable


@dataclasses.dataclass(frozen=True)
class EncoderVariant:
    """What differs between families of these encoders.

    Attributes:
        family: Name in `FAMILIES`.
        pair_objective: As in TransformerConfig.
        positions_after_padding: Count positions from the first real token,
            which has row `pad_token_id` + 1 of the table. The longest sequence
            is shorter than the table by as many rows.
        masked_lm_activation: Activation in the head for masked tokens; None:
            the activation of the blocks.
        sequence_dense: As in TaskHeadConfig.
        pooler_activation: Activation of the pooler.
        always_projects: Tables of the width of the blocks have a projection
            too.
    """

    family: str
    pair_objective: PairObjective = "none"
    positions_after_padding: bool = False
    masked_lm_activation: Activation | None = None
    sequence_dense: Activation | None = None
    pooler_activation: Activation = "tanh"
    always_projects: bool = False


def create_encoder(
    variant: EncoderVariant,
    /,
    num_layers: int = 12,
    hidden_size: int = 768,
    num_heads: int = 12,
    intermediate_size: int | None = None,
    vocab_size: int = 30522,
    max_position_embeddings: int = 512,
    num_segments: int = 2,
    embedding_size: int | None = None,
    num_groups: int | None = None,
    group_size: int = 1,
    activation: Activation = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    classifier_dropout: float | None = None,
    epsilon: float = 1e-12,
    initializer_range: float = 0.02,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = 0,
) -> TransformerConfig:
    """Returns the config of an encoder; the defaults are BERT-Base's.

    The arguments are those of `tfllm.models.stacks` and StackConfig.
    `max_position_embeddings` is the number of rows of the table of positions;
    `embedding_size` is the width of all tables. `num_layers` counts the times
    that a group of `group_size` blocks is applied. `classifier_dropout` None
    means `dropout`.
    """
    norm = NormConfig(hidden_size, epsilon=epsilon)
    ids = special_ids(vocab_size, bos_token_id, eos_token_id, pad_token_id)
    positions = LearnedPositionsConfig(max_position_embeddings)
    if variant.positions_after_padding:
        offset = ids["pad_token_id"] + 1
        positions = LearnedPositionsConfig(
            max_position_embeddings, offset, "mask"
        )
    config = TransformerConfig(
        family=variant.family,
        encoder=create_stack(
            vocab_size,
            num_layers * group_size,
            num_heads,
            norm,
            positions,
            intermediate_size=intermediate_size,
            activation=activation,
            dropout=dropout,
            attention_dropout=attention_dropout,
            initializer_range=initializer_range,
            embeddings={"num_segments": num_segments, "norm": norm},
            num_groups=num_groups,
            group_size=group_size,
        ),
        max_length=positions.rows - positions.offset,
        pair_objective=variant.pair_objective,
        **encoder_heads(
            vocab_size,
            norm,
            variant.masked_lm_activation or activation,
            dropout if classifier_dropout is None else classifier_dropout,
            initializer_range,
            sequence_dense=variant.sequence_dense,
            pooler_activation=variant.pooler_activation,
        ),
        **ids,
    )
    if variant.always_projects or embedding_size not in (None, hidden_size):
        return _with_embedding_size(config, embedding_size or hidden_size)
    return config


# Arguments of `create_encoder` that most families lack.
OPTIONAL = ("embedding_size", "num_groups", "group_size")


def _with_embedding_size(
    config: TransformerConfig, size: int
) -> TransformerConfig:
    """Returns an encoder whose tables have another width than its blocks.

    A dense layer widens the normalized sum of the embeddings, and the head
    for masked tokens works at the width of the table.

    Args:
        config: Config of an encoder with tables of the width of its blocks.
        size: Width of the tables, E.
    """
    replace = dataclasses.replace
    stack, head = config.stack, config.masked_lm_head
    embeddings = stack.embeddings
    embeddings = replace(
        embeddings,
        embedding_size=size,
        projection="sum",
        norm=embeddings.norm and replace(embeddings.norm, hidden_size=size),
    )
    return replace(
        config,
        encoder=replace(stack, embeddings=embeddings),
        masked_lm_head=head
        and replace(
            head,
            embedding_size=size,
            norm=replace(head.norm, hidden_size=size),
        ),
    )


# `PublishedKeys.keys`. The defaults are those of Transformers, which differ
# from some published sizes.
KEYS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("vocab_size", 30522),
    "hidden_size": ("hidden_size", 768),
    "num_hidden_layers": ("num_layers", 12),
    "num_attention_heads": ("num_heads", 12),
    "intermediate_size": ("intermediate_size", 3072),
    "hidden_act": ("activation", "gelu"),
    "hidden_dropout_prob": ("dropout", 0.1),
    "attention_probs_dropout_prob": ("attention_dropout", 0.1),
    "classifier_dropout": ("classifier_dropout", None),
    "max_position_embeddings": ("max_position_embeddings", 512),
    "type_vocab_size": ("num_segments", 2),
    "initializer_range": ("initializer_range", 0.02),
    "layer_norm_eps": ("epsilon", 1e-12),
    "bos_token_id": ("bos_token_id", None),
    "eos_token_id": ("eos_token_id", None),
    "pad_token_id": ("pad_token_id", None),
}
# `PublishedKeys.fixed` and `PublishedKeys.constants`.
FIXED = {
    "is_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
}
CONSTANTS = {"tie_word_embeddings": True, "use_cache": False}


def embedding_table(prefix: str, config: TransformerConfig) -> WeightTable:
    """Returns published name <-> path for the embeddings.

    Args:
        prefix: Published prefix of the model without heads, such as "bert".
        config: Config of the model.
    """
    table = WeightTable()
    part = table.part(f"{prefix}.embeddings", "transformer.embeddings")
    part.tensor("word_embeddings.weight", "token_table")
    part.tensor("position_embeddings.weight", "positions.table")
    if config.embeddings.num_segments:
        part.tensor("token_type_embeddings.weight", "segment_table")
    part.norm("LayerNorm", "norm")
    return table


def encoder_table(
    prefix: str, config: TransformerConfig, has_pooler: bool = True
) -> WeightTable:
    """Maps the published weights of embeddings, blocks and pooler.

    Args:
        prefix: As in `embedding_table`.
        config: Config of the model.
        has_pooler: Whether the pooler belongs to the bare encoder.
    """
    table = embedding_table(prefix, config)
    names = ("self.query", "self.key", "self.value", "output.dense")
    for part in table.blocks(f"{prefix}.encoder.layer", config.stack):
        part.attention(config.block.attention, "attention.", names)
        part.norm("attention.output.LayerNorm", "attention_norm")
        part.dense("intermediate.dense", "feed_forward.up")
        part.dense("output.dense", "feed_forward.down")
        part.norm("output.LayerNorm", "feed_forward_norm")
    if has_pooler:
        table.dense(f"{prefix}.pooler.dense", "pooler.dense")
    return table
