"""Decoders without an encoder, as GPT-2.

`assemble_decoder` serves every such family; `create_learned_decoder` is
`config()` of those with learned positions and no gates.
"""

import dataclasses
from typing import Any, Literal

from tfllm.layers.config import Activation, NormConfig
from tfllm.layers.position_config import (
    LearnedPositionsConfig,
    PositionsConfig,
)
from tfllm.models.config import TransformerConfig
from tfllm.models.stacks import create_stack, decoder_heads, special_ids


def assemble_decoder(
    family: str,
    vocab_size: int,
    num_layers: int,
    num_heads: int,
    norm: NormConfig,
    positions: PositionsConfig | None,
    *,
    max_length: int,
    classifier_dropout: float | None,
    token_ids: tuple[int | None, int | None, int | None],
    tied: bool = True,
    initializer_range: float = 0.02,
    norm_placement: Literal["post", "pre"] = "pre",
    final_norm: bool = True,
    final_projection: int | None = None,
    **stack: Any,
) -> TransformerConfig:
    """Returns the config of a decoder with its heads.

    Args:
        family: Name in `FAMILIES`.
        vocab_size: V.
        num_layers: L.
        num_heads: N.
        norm: Normalization in every block; its width is D.
        positions: Config of the positions, or None.
        max_length: Longest sequence.
        classifier_dropout: Rate on the input of the heads for tokens and
            choices; None means 0.1.
        token_ids: `bos`, `eos` and `pad` of `special_ids`.
        tied: Use the token table as the output table.
        initializer_range: Standard deviation of the truncated normal.
        norm_placement: As in BlockConfig.
        final_norm: Normalize after the last block.
        final_projection: As in StackConfig; the width that the heads read.
        **stack: More arguments of `create_stack`.
    """
    return TransformerConfig(
        family=family,
        decoder=create_stack(
            vocab_size,
            num_layers,
            num_heads,
            norm,
            positions,
            initializer_range=initializer_range,
            causal=True,
            norm_placement=norm_placement,
            final_norm=norm if final_norm else None,
            final_projection=final_projection,
            **stack,
        ),
        max_length=max_length,
        **decoder_heads(
            vocab_size,
            final_projection or norm.hidden_size,
            0.1 if classifier_dropout is None else classifier_dropout,
            initializer_range,
            tied,
        ),
        **special_ids(vocab_size, *token_ids),
    )


@dataclasses.dataclass(frozen=True)
class LearnedDecoderVariant:
    """What differs between families of decoders with learned positions.

    Attributes:
        family: Name in `FAMILIES`.
        position_offset: Rows of the table of positions before that of the
            first token, which the longest sequence does not count.
        narrow_residual: New projections onto the residual deviate less, by
            sqrt(2 L).
    """

    family: str
    position_offset: int = 0
    narrow_residual: bool = False


def create_learned_decoder(
    variant: LearnedDecoderVariant,
    /,
    num_layers: int = 12,
    hidden_size: int = 768,
    num_heads: int = 12,
    intermediate_size: int | None = None,
    vocab_size: int = 50257,
    max_position_embeddings: int = 1024,
    embedding_size: int | None = None,
    activation: Activation = "gelu_tanh",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    embedding_dropout: float | None = None,
    classifier_dropout: float | None = None,
    epsilon: float = 1e-5,
    initializer_range: float = 0.02,
    scale_scores: bool = True,
    scale_scores_by_layer: bool = False,
    use_bias: bool = True,
    affine: bool = True,
    pre_norm: bool = True,
    final_norm: bool = True,
    tied: bool = True,
    bos_token_id: int | None = 50256,
    eos_token_id: int | None = 50256,
    pad_token_id: int | None = None,
) -> TransformerConfig:
    """Returns the config of a decoder; the defaults are GPT-2's, 124M.

    The arguments are those of `tfllm.models.stacks` and NormConfig (`affine`);
    the longest sequence is `max_position_embeddings`. `embedding_size` is the
    width of the token table, with projections from and to `hidden_size`.
    `scale_scores` divides attention scores by sqrt(H), `scale_scores_by_layer`
    by the layer's number as well. Without `pre_norm`, blocks are post-norm,
    and there is no final norm.
    """
    projected = embedding_size not in (None, hidden_size)
    embeddings = {
        "embedding_size": embedding_size,
        "projection": "tokens",
        "projection_bias": False,
    }
    narrow = initializer_range / (2.0 * num_layers) ** 0.5
    offset = variant.position_offset
    return assemble_decoder(
        variant.family,
        vocab_size,
        num_layers,
        num_heads,
        NormConfig(hidden_size, epsilon=epsilon, affine=affine),
        LearnedPositionsConfig(
            max_position_embeddings + offset, offset, "mask"
        ),
        max_length=max_position_embeddings,
        classifier_dropout=classifier_dropout,
        token_ids=(bos_token_id, eos_token_id, pad_token_id),
        tied=tied,
        norm_placement="pre" if pre_norm else "post",
        final_norm=pre_norm and final_norm,
        final_projection=embedding_size if projected else None,
        intermediate_size=intermediate_size,
        activation=activation,
        dropout=dropout,
        attention_dropout=attention_dropout,
        embedding_dropout=embedding_dropout,
        initializer_range=initializer_range,
        residual_range=narrow if variant.narrow_residual else None,
        attention={
            "use_bias": use_bias,
            "scale": None if scale_scores else 1.0,
        },
        feed_forward={"use_bias": use_bias},
        embeddings=embeddings if projected else {},
        scale_scores_by_layer=scale_scores_by_layer,
    )
