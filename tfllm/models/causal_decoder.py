"""Decoders without an encoder, as GPT-2.

`assemble_decoder` serves every such family; `create_learned_decoder` is
`config()` of those with learned positions, pre-norm blocks and no gates.
"""

from collections.abc import Callable
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
    classifier_dropout: float,
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
            choices.
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
            classifier_dropout,
            initializer_range,
            tied,
        ),
        **special_ids(vocab_size, *token_ids),
    )


def tied_to(table: str) -> Callable[[TransformerConfig], dict[str, str]]:
    """Returns `Family.tied` for an output table that may be the token table.

    Args:
        table: Published name of the token table.
    """

    def tied(config: TransformerConfig) -> dict[str, str]:
        if config.output_head is None or not config.output_head.tied:
            return {}
        return {"lm_head.weight": table}

    return tied


def create_learned_decoder(
    family: str,
    /,
    num_layers: int = 12,
    hidden_size: int = 768,
    num_heads: int = 12,
    intermediate_size: int | None = None,
    vocab_size: int = 50257,
    max_position_embeddings: int = 1024,
    activation: Activation = "gelu_tanh",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    embedding_dropout: float | None = None,
    classifier_dropout: float = 0.1,
    epsilon: float = 1e-5,
    initializer_range: float = 0.02,
    scale_scores: bool = True,
    scale_scores_by_layer: bool = False,
    bos_token_id: int | None = 50256,
    eos_token_id: int | None = 50256,
    pad_token_id: int | None = None,
) -> TransformerConfig:
    """Returns the config of a decoder; the defaults are GPT-2's, 124M.

    The arguments are those of `tfllm.models.stacks`; the longest sequence is
    `max_position_embeddings`. `scale_scores` divides attention scores by
    sqrt(H), `scale_scores_by_layer` by the layer's number as well.
    """
    return assemble_decoder(
        family,
        vocab_size,
        num_layers,
        num_heads,
        NormConfig(hidden_size, epsilon=epsilon),
        LearnedPositionsConfig(max_position_embeddings, 0, "mask"),
        max_length=max_position_embeddings,
        classifier_dropout=classifier_dropout,
        token_ids=(bos_token_id, eos_token_id, pad_token_id),
        intermediate_size=intermediate_size,
        activation=activation,
        dropout=dropout,
        attention_dropout=attention_dropout,
        embedding_dropout=embedding_dropout,
        initializer_range=initializer_range,
        residual_range=initializer_range / (2.0 * num_layers) ** 0.5,
        attention={"scale": None if scale_scores else 1.0},
        scale_scores_by_layer=scale_scores_by_layer,
    )
