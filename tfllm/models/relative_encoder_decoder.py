"""Encoder-decoders with a relative bias, RMSNorm and no biases, as T5.

What their families share: `config()`, config.json and the names of weights.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfllm.layers.config import Activation, NormConfig
from tfllm.layers.heads import TaskHeadConfig
from tfllm.layers.output_head import OutputHeadConfig
from tfllm.layers.position_config import RelativeBiasConfig
from tfllm.models.config import TransformerConfig
from tfllm.models.published import MAX_ROWS, PublishedConfig
from tfllm.models.published_keys import Field, PublishedKeys
from tfllm.models.stack_config import StackConfig
from tfllm.models.stacks import create_stack
from tfllm.models.weight_map import (
    TensorSource,
    Weight,
    WeightTable,
    stack_paths,
)


def create_relative_encoder_decoder(
    family: str,
    scales_tied: bool,
    /,
    num_layers: int = 6,
    hidden_size: int = 512,
    num_heads: int = 8,
    head_dim: int = 64,
    intermediate_size: int = 2048,
    num_decoder_layers: int | None = None,
    vocab_size: int = 32128,
    num_buckets: int = 32,
    max_distance: int = 128,
    activation: Activation = "relu",
    gated: bool = False,
    dropout: float = 0.1,
    classifier_dropout: float = 0.0,
    epsilon: float = 1e-6,
    initializer_factor: float = 1.0,
    tied: bool = True,
    bos_token_id: int | None = None,
    pad_token_id: int = 0,
    eos_token_id: int | None = 1,
    decoder_start_token_id: int | None = None,
) -> TransformerConfig:
    """Returns the config of an encoder-decoder; the defaults are T5-small's.

    The arguments are those of `tfllm.models.stacks`, FeedForwardConfig and
    RelativeBiasConfig. There is no longest sequence. With `tied`, the token
    table predicts the next token, with `scales_tied` from hidden states scaled
    by D ** -0.5. All deviations of new weights have the factor
    `initializer_factor`. None means:
    `num_layers` for `num_decoder_layers`, the token of padding for
    `decoder_start_token_id`.
    """
    narrow = initializer_factor * hidden_size**-0.5
    inner = num_heads * head_dim
    norm = NormConfig(hidden_size, kind="rms_norm", epsilon=epsilon)

    def stack(count: int, decodes: bool) -> StackConfig:
        return create_stack(
            vocab_size,
            count,
            num_heads,
            norm,
            RelativeBiasConfig(
                num_heads, num_buckets, max_distance, not decodes, narrow
            ),
            intermediate_size=intermediate_size,
            activation=activation,
            dropout=dropout,
            initializer_range=narrow,
            causal=decodes,
            cross_attention=decodes,
            norm_placement="pre",
            attention={
                "head_dim": head_dim,
                "use_bias": False,
                "scale": 1.0,
                "query_initializer_range": narrow * head_dim**-0.5,
                "output_initializer_range": initializer_factor * inner**-0.5,
            },
            feed_forward={
                "gated": gated,
                "use_bias": False,
                "dropout": dropout,
                "output_initializer_range": (
                    initializer_factor * intermediate_size**-0.5
                ),
            },
            embeddings={"initializer_range": initializer_factor},
            final_norm=norm,
            final_dropout=dropout,
        )

    return TransformerConfig(
        family=family,
        encoder=stack(num_layers, False),
        decoder=stack(num_decoder_layers or num_layers, True),
        output_head=OutputHeadConfig(
            hidden_size,
            vocab_size,
            tied=tied,
            scale=hidden_size**-0.5 if tied and scales_tied else 1.0,
            initializer_range=initializer_factor,
        ),
        task_head=TaskHeadConfig(
            classifier_dropout,
            initializer_range=narrow,
            sequence_dense="tanh",
        ),
        bos_token_id=bos_token_id,
        pad_token_id=pad_token_id,
        eos_token_id=eos_token_id,
        decoder_start_token_id=(
            pad_token_id
            if decoder_start_token_id is None
            else decoder_start_token_id
        ),
    )


# `PublishedKeys.keys` with T5's defaults, which are those of Transformers'
# T5Config; RelativeKeys adds the feed-forward network and the output head.
KEYS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("vocab_size", 32128),
    "d_model": ("hidden_size", 512),
    "d_kv": ("head_dim", 64),
    "d_ff": ("intermediate_size", 2048),
    "num_layers": ("num_layers", 6),
    "num_decoder_layers": ("num_decoder_layers", None),
    "num_heads": ("num_heads", 8),
    "relative_attention_num_buckets": ("num_buckets", 32),
    "relative_attention_max_distance": ("max_distance", 128),
    "dense_act_fn": ("activation", "relu"),
    "is_gated_act": ("gated", False),
    "dropout_rate": ("dropout", 0.1),
    "classifier_dropout": ("classifier_dropout", 0.0),
    "layer_norm_epsilon": ("epsilon", 1e-6),
    "initializer_factor": ("initializer_factor", 1.0),
    "bos_token_id": ("bos_token_id", None),
    "pad_token_id": ("pad_token_id", 0),
    "eos_token_id": ("eos_token_id", 1),
    "decoder_start_token_id": ("decoder_start_token_id", None),
}


def _rows(values: PublishedConfig, key: str, default: Any) -> Any:
    """Reads a number of rows, or of distances."""
    return values.count(key, default, MAX_ROWS)


_POSITIONS = "embeddings.positions"
FIELDS = {
    "num_buckets": Field(
        _rows,
        f"{_POSITIONS}.num_buckets",
        shown_by=("transformer.relative_bias.table", 0),
    ),
    "max_distance": Field(_rows, f"{_POSITIONS}.max_distance"),
    "gated": Field(PublishedConfig.flag, "block.feed_forward.gated"),
    "initializer_factor": Field(
        PublishedConfig.spread, "embeddings.initializer_range"
    ),
}


class RelativeKeys(PublishedKeys):
    """A config.json that names the feed-forward network in one key."""

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns arguments of `config()`.

        Raises:
            ValueError: A value is out of its range, or not supported.
        """
        key = "feed_forward_proj"
        name = values.get(key, self.constants[key])
        gate, _, activation = str(name).rpartition("-")
        if gate not in ("", "gated"):
            raise ValueError(
                f"`{key}` must be an activation, or 'gated-' and an "
                f"activation. Received: {name!r}"
            )
        if name == "gated-gelu":
            activation = "gelu_new"
        parts = {"dense_act_fn": activation, "is_gated_act": gate == "gated"}
        return super().read({**parts, **values})

    def write(self, config: TransformerConfig) -> dict[str, Any]:
        """Returns the config.json of a config."""
        values = super().write(config)
        name, gated = values["dense_act_fn"], values["is_gated_act"]
        short = "gelu" if name == "gelu_new" else name
        values["feed_forward_proj"] = f"gated-{short}" if gated else name
        return values


# `Family.architectures`, beside the class of the encoder.
CLASSES = (
    "seq2seq_lm",
    "encoder_decoder",
    "sequence_classification",
    "token_classification",
    "question_answering",
)
_NAMES = ("q", "k", "v", "o")
# `Family.prefix` and `Family.prefixes`: a classifier holds the whole model.
PREFIX = "transformer."
PREFIXES = {
    "seq2seq_lm": "",
    "encoder": "",
    "encoder_decoder": "",
    "question_answering": "",
}


def ignored_names(config: TransformerConfig) -> tuple[str, ...]:
    """Returns `Family.ignored`.

    No block but the first has a bias, nor any cross-attention.
    """
    if config.decoder is None:
        return (r"transformer\.decoder\..*", r"lm_head\.weight")
    return (
        r"transformer\.decoder\.block\.0\.layer\.1\.EncDecAttention"
        r"\.relative_attention_bias\.weight",
    )


def relative_weights(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the stacks and all heads."""
    table = WeightTable()
    paths = stack_paths(config)
    first = next(iter(paths.values()))
    tokens = f"{first}.embeddings.token_table"
    table.tensor(f"{PREFIX}shared.weight", tokens)
    for side, path in paths.items():
        stack = getattr(config, side)
        bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        part = table.part(f"{PREFIX}{side}", path)
        part.tensor(bias, "relative_bias.table")
        part.norm("final_layer_norm", "final_norm", bias=False)
        for part in table.blocks(f"{PREFIX}{side}.block", stack, path):
            attention, last = stack.block.attention, 1
            part.attention(attention, "layer.0.SelfAttention.", _NAMES)
            part.norm("layer.0.layer_norm", "attention_norm", bias=False)
            if stack.block.cross_attention is not None:
                names, last = "layer.1.EncDecAttention.", 2
                cross = "cross_attention"
                part.attention(attention, names, _NAMES, cross)
                part.norm("layer.1.layer_norm", f"{cross}_norm", bias=False)
            inner = f"layer.{last}.DenseReluDense"
            part.norm(f"layer.{last}.layer_norm", "feed_forward_norm", False)
            up = "wi_1" if stack.block.feed_forward.gated else "wi"
            part.dense(f"{inner}.{up}", "feed_forward.up", bias=False)
            if stack.block.feed_forward.gated:
                part.dense(f"{inner}.wi_0", "feed_forward.gate", bias=False)
            part.dense(f"{inner}.wo", "feed_forward.down", bias=False)
    table.output_table(config)
    table.dense("classification_head.dense", "sequence_dense")
    table.heads("classification_head.out_proj", choice="")
    return table.rows


def tied_tables(config: TransformerConfig) -> dict[str, str]:
    """Returns `Family.tied`."""
    shared = f"{PREFIX}shared.weight"
    copies = [f"{PREFIX}{s}.embed_tokens.weight" for s in stack_paths(config)]
    if config.output_head is not None and config.output_head.tied:
        copies.append("lm_head.weight")
    return dict.fromkeys(copies, shared)


# `Family.layers` and `Family.decoder_layers`.
LAYERS = ("num_layers", f"{PREFIX}encoder.block.{{}}.")
DECODER_LAYERS = ("num_decoder_layers", f"{PREFIX}decoder.block.{{}}.")


def fit_output_table(
    config: TransformerConfig, tensors: TensorSource
) -> TransformerConfig:
    """Returns `Family.fit_tensors`: the head is tied unless it has a table.

    Transformers 5 writes `tie_word_embeddings` for every model, and the tensor
    of a head that is not tied.
    """
    head = config.output_head
    if head is None:
        return config
    stored, table, original = (
        tensors.shapes(),
        "lm_head.weight",
        "shared.weight",
    )
    tied = table not in stored
    if head.tied and not tied and original in stored:
        # Older files of tied models hold copies.
        tied = np.array_equal(tensors.read(table), tensors.read(original))
    return dataclasses.replace(
        config, output_head=dataclasses.replace(head, tied=tied)
    )
