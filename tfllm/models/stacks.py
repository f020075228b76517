"""Builds the parts of a config that families share: stack, heads, ids."""

import dataclasses
from typing import Any, Literal

from tfllm.layers.config import (
    Activation,
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    NormConfig,
)
from tfllm.layers.heads import (
    MaskedLMHeadConfig,
    PoolerConfig,
    TaskHeadConfig,
)
from tfllm.layers.output_head import OutputHeadConfig
from tfllm.layers.position_config import PositionsConfig
from tfllm.models.stack_config import StackConfig


def create_stack(
    vocab_size: int,
    num_layers: int,
    num_heads: int,
    norm: NormConfig,
    positions: PositionsConfig | None,
    *,
    intermediate_size: int | None = None,
    activation: Activation = "gelu",
    dropout: float = 0.0,
    attention_dropout: float | None = None,
    embedding_dropout: float | None = None,
    initializer_range: float = 0.02,
    residual_range: float | None = None,
    causal: bool = False,
    cross_attention: bool = False,
    norm_placement: Literal["post", "pre"] = "post",
    attention: dict[str, Any] | None = None,
    feed_forward: dict[str, Any] | None = None,
    embeddings: dict[str, Any] | None = None,
    **stack: Any,
) -> StackConfig:
    """Returns the config of a stack from plain numbers.

    Args:
        vocab_size: V.
        num_layers: L.
        num_heads: N.
        norm: Normalization in every block; its width is D.
        positions: Config of the positions, or None.
        intermediate_size: F; None means 4 D.
        activation: Of the feed-forward networks.
        dropout: Rate on sub-layer outputs.
        attention_dropout: Rate on attention probabilities; None means
            `dropout`.
        embedding_dropout: Rate on the embeddings; None means `dropout`.
        initializer_range: Standard deviation of the truncated normal.
        residual_range: Standard deviation for projections onto the residual;
            None means `initializer_range`.
        causal: A token attends only to itself and those before it.
        cross_attention: The stack is the decoder of an encoder-decoder; its
            cross-attention has the fields of its self-attention.
        norm_placement: As in BlockConfig.
        attention: More fields of AttentionConfig; they replace the others.
        feed_forward: The same of FeedForwardConfig.
        embeddings: The same of EmbeddingConfig.
        **stack: More fields of StackConfig.
    """
    size = norm.hidden_size
    deviations: dict[str, Any] = {
        "initializer_range": initializer_range,
        "output_initializer_range": residual_range,
    }
    if attention_dropout is None:
        attention_dropout = dropout
    if embedding_dropout is None:
        embedding_dropout = dropout
    attention_config = AttentionConfig(
        size,
        num_heads,
        causal=causal,
        **{
            "dropout": attention_dropout,
            **deviations,
            **(attention or {}),
        },
    )
    return StackConfig(
        embeddings=EmbeddingConfig(
            vocab_size,
            size,
            positions=positions,
            **{
                "initializer_range": initializer_range,
                "dropout": embedding_dropout,
                **(embeddings or {}),
            },
        ),
        block=BlockConfig(
            attention=attention_config,
            feed_forward=FeedForwardConfig(
                size,
                intermediate_size or 4 * size,
                activation=activation,
                **{**deviations, **(feed_forward or {})},
            ),
            norm=norm,
            norm_placement=norm_placement,
            dropout=dropout,
            cross_attention=(
                dataclasses.replace(attention_config, causal=False)
                if cross_attention
                else None
            ),
        ),
        num_layers=num_layers,
        **stack,
    )


def encoder_heads(
    vocab_size: int,
    norm: NormConfig,
    activation: Activation,
    dropout: float,
    initializer_range: float,
    sequence_dense: Activation | None = None,
    pooler_activation: Activation = "tanh",
) -> dict[str, Any]:
    """Returns the heads of an encoder such as BERT, as fields of its config.

    Args:
        vocab_size: V.
        norm: Normalization in the head for masked tokens; its width is D.
        activation: Activation in the head for masked tokens.
        dropout: Rate on the input of the heads of labelled tasks.
        initializer_range: Standard deviation of the truncated normal.
        sequence_dense: As in TaskHeadConfig.
        pooler_activation: Activation of the pooler.
    """
    size = norm.hidden_size
    return {
        "pooler": PoolerConfig(size, pooler_activation, initializer_range),
        "masked_lm_head": MaskedLMHeadConfig(
            size, size, vocab_size, norm, activation, initializer_range
        ),
        "task_head": TaskHeadConfig(
            dropout,
            initializer_range=initializer_range,
            sequence_dense=sequence_dense or "",
        ),
    }


def decoder_heads(
    vocab_size: int,
    hidden_size: int,
    dropout: float,
    initializer_range: float,
    tied: bool = True,
) -> dict[str, Any]:
    """Returns the heads of a decoder such as GPT-2, as fields of its config.

    The head for labels of a sequence has neither dropout nor bias.

    Args:
        vocab_size: V.
        hidden_size: Width of the vectors that the heads read.
        dropout: Rate on the input of the heads for tokens and choices.
        initializer_range: Standard deviation of the truncated normal.
        tied: The token table predicts the next token.
    """
    return {
        "output_head": OutputHeadConfig(
            hidden_size,
            vocab_size,
            tied=tied,
            initializer_range=initializer_range,
        ),
        "task_head": TaskHeadConfig(
            dropout,
            drop_sequence=False,
            sequence_bias=False,
            initializer_range=initializer_range,
        ),
    }


def special_ids(
    vocab_size: int, bos: int | None, eos: int | None, pad: int | None
) -> dict[str, Any]:
    """Returns the ids of special tokens, as fields of a config.

    Args:
        vocab_size: V.
        bos: Id that opens a text; an id outside the vocabulary means None.
        eos: Id that ends a text; an id outside the vocabulary means None.
        pad: Id of padding; None means `eos`, or 0 without one.
    """
    bos, eos = (None if i is None or i >= vocab_size else i for i in (bos, eos))
    return {
        "pad_token_id": (eos or 0) if pad is None else pad,
        "bos_token_id": bos,
        "eos_token_id": eos,
    }
