"""Encoder-decoders with post-norm blocks, as BART and Marian.

What their families share: `config()`, config.json and the names of weights.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tfllm.layers.config import Activation, NormConfig
from tfllm.layers.heads import TaskHeadConfig
from tfllm.layers.output_head import OutputHeadConfig
from tfllm.layers.position_config import PositionsConfig
from tfllm.models.config import TransformerConfig
from tfllm.models.published import MAX_WIDTH, PublishedConfig
from tfllm.models.published_keys import FIELDS, Field
from tfllm.models.stack_config import StackConfig
from tfllm.models.stacks import create_stack, special_ids
from tfllm.models.weight_map import WeightTable, stack_paths


@dataclasses.dataclass(frozen=True)
class EncoderDecoderVariant:
    """What differs between families of these encoder-decoders.

    Attributes:
        family: Name in `FAMILIES`.
        positions: From the longest sequence and the id of padding, the
            positions of both stacks.
        starts_with: Token that the decoder reads first.
        embedding_norm: Normalize the embeddings.
        output_bias: A bias on the logits, which is not trained.
        pads_last: Without a `pad_token_id`, padding has the last id.
        own_table: Without shared embeddings, logits have a table of their own.
        sequence_dense: As in TaskHeadConfig.
    """

    family: str
    positions: Callable[[int, int], PositionsConfig]
    starts_with: Literal["eos", "pad"] = "eos"
    embedding_norm: bool = False
    output_bias: bool = False
    pads_last: bool = False
    own_table: bool = False
    sequence_dense: Activation | None = None


def create_encoder_decoder(
    variant: EncoderDecoderVariant,
    /,
    num_layers: int = 12,
    hidden_size: int = 1024,
    num_heads: int = 16,
    intermediate_size: int | None = None,
    num_decoder_layers: int | None = None,
    num_decoder_heads: int | None = None,
    decoder_intermediate_size: int | None = None,
    vocab_size: int = 50265,
    max_position_embeddings: int = 1024,
    activation: Activation = "gelu",
    scale_embeddings: bool = False,
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
    activation_dropout: float = 0.0,
    classifier_dropout: float = 0.0,
    initializer_range: float = 0.02,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
    decoder_start_token_id: int | None = None,
) -> TransformerConfig:
    """Returns the config of an encoder-decoder with one vocabulary.

    The arguments are those of `tfllm.models.stacks`. `activation_dropout` is
    the dropout inside the feed-forward networks. With `scale_embeddings`,
    token embeddings are multiplied by sqrt(D). What is None of the decoder is
    that of the encoder.
    """
    special = special_ids(vocab_size, bos_token_id, eos_token_id, pad_token_id)
    if pad_token_id is None and variant.pads_last:
        special["pad_token_id"] = vocab_size - 1
    start = decoder_start_token_id
    if start is None:
        start = special[f"{variant.starts_with}_token_id"]
    norm = NormConfig(hidden_size, epsilon=1e-5)

    def stack(
        layers: int, heads: int, inner: int | None, decodes: bool
    ) -> StackConfig:
        return create_stack(
            vocab_size,
            layers,
            heads,
            norm,
            variant.positions(max_position_embeddings, special["pad_token_id"]),
            intermediate_size=inner,
            activation=activation,
            dropout=dropout,
            attention_dropout=attention_dropout,
            initializer_range=initializer_range,
            causal=decodes,
            cross_attention=decodes,
            feed_forward={"dropout": activation_dropout},
            embeddings={
                "scale": hidden_size**0.5 if scale_embeddings else 1.0,
                "norm": norm if variant.embedding_norm else None,
            },
        )

    return TransformerConfig(
        family=variant.family,
        encoder=stack(num_layers, num_heads, intermediate_size, False),
        decoder=stack(
            num_decoder_layers or num_layers,
            num_decoder_heads or num_heads,
            decoder_intermediate_size or intermediate_size,
            True,
        ),
        max_length=max_position_embeddings,
        output_head=OutputHeadConfig(
            hidden_size,
            vocab_size,
            use_bias=variant.output_bias,
            trains_bias=False,
            initializer_range=initializer_range,
        ),
        task_head=TaskHeadConfig(
            classifier_dropout,
            initializer_range=initializer_range,
            sequence_dense=variant.sequence_dense or "",
        ),
        decoder_start_token_id=start,
        **special,
    )


def create_translation_model(
    variant: EncoderDecoderVariant,
    /,
    num_layers: int = 6,
    hidden_size: int = 512,
    num_heads: int = 8,
    intermediate_size: int | None = None,
    num_decoder_layers: int | None = None,
    num_decoder_heads: int | None = None,
    decoder_intermediate_size: int | None = None,
    vocab_size: int = 58101,
    decoder_vocab_size: int | None = None,
    share_embeddings: bool = True,
    max_position_embeddings: int = 512,
    activation: Activation = "relu",
    scale_embeddings: bool = True,
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
    activation_dropout: float = 0.0,
    initializer_range: float = 0.02,
    bos_token_id: int | None = None,
    eos_token_id: int | None = 0,
    pad_token_id: int | None = None,
    decoder_start_token_id: int | None = None,
) -> TransformerConfig:
    """Returns the config of an encoder-decoder for two languages.

    The arguments are those of `create_encoder_decoder`. The two languages have
    one vocabulary, or two with tables of their own; None means `vocab_size`
    for `decoder_vocab_size`.

    Raises:
        ValueError: Two vocabularies are to share a table.
    """
    config = create_encoder_decoder(
        variant,
        num_layers,
        hidden_size,
        num_heads,
        intermediate_size,
        num_decoder_layers,
        num_decoder_heads,
        decoder_intermediate_size,
        vocab_size,
        max_position_embeddings,
        activation,
        scale_embeddings,
        dropout,
        attention_dropout,
        activation_dropout,
        initializer_range=initializer_range,
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        decoder_start_token_id=decoder_start_token_id,
    )
    size = decoder_vocab_size or vocab_size
    if share_embeddings and size != vocab_size:
        raise ValueError(
            "`decoder_vocab_size` must be `vocab_size` with "
            f"`share_embeddings`. Received: {size} and {vocab_size}"
        )
    assert config.decoder is not None
    assert config.output_head is not None
    return dataclasses.replace(
        config,
        decoder=config.decoder.with_vocab_size(size),
        share_embeddings=share_embeddings,
        output_head=dataclasses.replace(
            config.output_head,
            vocab_size=size,
            tied=share_embeddings or not variant.own_table,
        ),
    )


# `PublishedKeys.keys` with the defaults that BART, Marian and FSMT share.
KEYS: dict[str, tuple[str, Any]] = {
    "d_model": ("hidden_size", 1024),
    "encoder_layers": ("num_layers", 12),
    "encoder_attention_heads": ("num_heads", 16),
    "encoder_ffn_dim": ("intermediate_size", 4096),
    "decoder_layers": ("num_decoder_layers", 12),
    "decoder_attention_heads": ("num_decoder_heads", 16),
    "decoder_ffn_dim": ("decoder_intermediate_size", 4096),
    "max_position_embeddings": ("max_position_embeddings", 1024),
    "activation_function": ("activation", "gelu"),
    "scale_embedding": ("scale_embeddings", False),
    "dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.0),
    "activation_dropout": ("activation_dropout", 0.0),
    "init_std": ("initializer_range", 0.02),
    "bos_token_id": ("bos_token_id", None),
    "eos_token_id": ("eos_token_id", None),
    "pad_token_id": ("pad_token_id", None),
    "decoder_start_token_id": ("decoder_start_token_id", None),
}
# `PublishedKeys.fixed` and `PublishedKeys.constants`.
FIXED = {
    "is_decoder": False,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}
CONSTANTS = {"is_encoder_decoder": True}


def _width(values: PublishedConfig, key: str, default: Any) -> Any:
    """Reads a width, or a number of heads."""
    return values.count(key, default, MAX_WIDTH)


FIELD_PATHS: dict[str, Field] = {
    "max_position_embeddings": FIELDS["longest_sequence"],
    "num_decoder_heads": Field(_width, "decoder.block.attention.num_heads"),
    "decoder_intermediate_size": Field(
        _width, "decoder.block.feed_forward.intermediate_size"
    ),
    "decoder_vocab_size": Field(
        FIELDS["vocab_size"].read, "decoder.embeddings.vocab_size"
    ),
    "share_embeddings": Field(PublishedConfig.flag, "share_embeddings"),
    "scale_embeddings": Field(
        PublishedConfig.flag, "embeddings.scale", lambda scale: scale != 1.0
    ),
    "activation_dropout": Field(
        FIELDS["dropout"].read, "block.feed_forward.dropout"
    ),
}

# `Family.prefix`, `Family.layers` and `Family.decoder_layers`.
PREFIX = "model."
LAYERS = ("encoder_layers", "model.encoder.layers.{}.")
DECODER_LAYERS = ("decoder_layers", "model.decoder.layers.{}.")
# `Family.ignored` of models whose positions are computed.
POSITION_TABLES = (r"model\.(en|de)coder\.embed_positions\.weight",)


def position_tables(
    angles: np.ndarray, zero_row: int | None = None
) -> dict[str, np.ndarray]:
    """Returns the published tables of sinusoids, which both stacks have.

    Args:
        angles: float [positions, D / 2].
        zero_row: Row of zeros, or None.
    """
    # [positions, D]
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    if zero_row is not None:
        table[zero_row] = 0.0
    return {
        f"{PREFIX}{side}.embed_positions.weight": table.astype(np.float32)
        for side in ("encoder", "decoder")
    }


_NAMES = ("q_proj", "k_proj", "v_proj", "out_proj")


def encoder_decoder_table(
    config: TransformerConfig, positions: bool = False
) -> WeightTable:
    """Returns published name <-> path for the blocks and what opens a stack.

    The tables of tokens and logits are those of each family.

    Args:
        config: Config of the model.
        positions: The stacks have tables of positions.
    """
    table = WeightTable()
    for side, path in stack_paths(config).items():
        stack = getattr(config, side)
        part = table.part(f"{PREFIX}{side}", f"{path}.embeddings")
        if positions:
            part.tensor("embed_positions.weight", "positions.table")
        if stack.embeddings.norm is not None:
            part.norm("layernorm_embedding", "norm")
        for part in table.blocks(f"{PREFIX}{side}.layers", stack, path):
            part.attention(stack.block.attention, "self_attn.", _NAMES)
            part.norm("self_attn_layer_norm", "attention_norm")
            cross = stack.block.cross_attention
            if cross is not None:
                names = "cross_attention"
                part.attention(cross, "encoder_attn.", _NAMES, names)
                part.norm("encoder_attn_layer_norm", f"{names}_norm")
            part.dense("fc1", "feed_forward.up")
            part.dense("fc2", "feed_forward.down")
            part.norm("final_layer_norm", "feed_forward_norm")
    return table


def token_tables(config: TransformerConfig) -> dict[str, str]:
    """Returns published name -> path of the tables of tokens.

    They are named "shared" if both stacks have one, and else by their stack.
    """
    paths = stack_paths(config)
    if config.share_embeddings:
        first = next(iter(paths.values()))
        return {f"{PREFIX}shared.weight": f"{first}.embeddings.token_table"}
    return {
        f"{PREFIX}{side}.embed_tokens.weight": f"{path}.embeddings.token_table"
        for side, path in paths.items()
    }


def tied_tables(config: TransformerConfig) -> dict[str, str]:
    """Returns `Family.tied` of models whose head is tied."""
    names = list(token_tables(config))
    tied = {"lm_head.weight": names[-1]}
    if config.share_embeddings:
        for side in stack_paths(config):
            tied[f"{PREFIX}{side}.embed_tokens.weight"] = names[0]
    return tied
