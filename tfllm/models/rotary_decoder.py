"""Decoders with rotary positions, RMSNorm and gated networks, as LLaMA.

What their families share: `config()`, config.json and the names of weights.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfllm.layers.config import Activation, NormConfig
from tfllm.layers.position_config import RopeScaling, RotaryConfig
from tfllm.models import published_windows
from tfllm.models.causal_decoder import assemble_decoder
from tfllm.models.config import TransformerConfig
from tfllm.models.family import tied_to
from tfllm.models.published import MAX_WIDTH, PublishedConfig
from tfllm.models.published_keys import Field, PublishedKeys
from tfllm.models.published_rotary import read_rotary, write_rotary
from tfllm.models.weight_map import Weight, WeightTable


@dataclasses.dataclass(frozen=True)
class RotaryVariant:
    """What differs between families of these decoders.

    Attributes:
        family: Name in `FAMILIES`.
        output_bias: As in AttentionConfig.
    """

    family: str
    output_bias: bool | None = None


def create_rotary_decoder(
    variant: RotaryVariant,
    /,
    num_layers: int = 32,
    hidden_size: int = 4096,
    num_heads: int = 32,
    num_kv_heads: int | None = None,
    head_dim: int | None = None,
    intermediate_size: int | None = None,
    vocab_size: int = 32000,
    max_position_embeddings: int = 2048,
    theta: float = 10000.0,
    scaling: RopeScaling | None = None,
    activation: Activation = "silu",
    attention_bias: bool = False,
    feed_forward_bias: bool = False,
    attention_dropout: float = 0.0,
    classifier_dropout: float | None = None,
    epsilon: float = 1e-6,
    initializer_range: float = 0.02,
    tied: bool = False,
    window: int | None = None,
    full_attention_layers: tuple[int, ...] = (),
    bos_token_id: int | None = 1,
    eos_token_id: int | None = 2,
    pad_token_id: int | None = None,
) -> TransformerConfig:
    """Returns the config of a decoder; the defaults are LLaMA 7B's.

    The arguments are those of `tfllm.models.stacks`, AttentionConfig,
    StackConfig and RotaryConfig (`theta`, `scaling`). The longest sequence is
    `max_position_embeddings`. With `tied`, the token table is the output
    table. None means: `num_heads` for `num_kv_heads`, D / N for
    `head_dim`, 0.1 for `classifier_dropout`.
    """
    head_size = head_dim or hidden_size // num_heads
    return assemble_decoder(
        variant.family,
        vocab_size,
        num_layers,
        num_heads,
        NormConfig(hidden_size, kind="rms_norm", epsilon=epsilon),
        RotaryConfig(head_size, theta, scaling),
        max_length=max_position_embeddings,
        classifier_dropout=classifier_dropout,
        token_ids=(bos_token_id, eos_token_id, pad_token_id),
        tied=tied,
        intermediate_size=intermediate_size,
        activation=activation,
        attention_dropout=attention_dropout,
        initializer_range=initializer_range,
        attention={
            "num_kv_heads": num_kv_heads or num_heads,
            "head_dim": head_size,
            "use_bias": attention_bias,
            "output_bias": variant.output_bias,
            "window": window,
        },
        full_attention_layers=full_attention_layers,
        feed_forward={"gated": True, "use_bias": feed_forward_bias},
    )


def _kv_heads(values: PublishedConfig, key: str, default: Any) -> Any:
    """Reads a number of heads; null means as many as of queries."""
    return values.optional_count(key, MAX_WIDTH, default)


# `PublishedKeys.keys` with LLaMA's defaults, which are those of Transformers'
# LlamaConfig; RotaryKeys adds the rotary positions. `published_windows` has
# those of windows.
KEYS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("vocab_size", 32000),
    "hidden_size": ("hidden_size", 4096),
    "intermediate_size": ("intermediate_size", 11008),
    "num_hidden_layers": ("num_layers", 32),
    "num_attention_heads": ("num_heads", 32),
    "num_key_value_heads": ("num_kv_heads", None),
    "head_dim": ("head_dim", None),
    "hidden_act": ("activation", "silu"),
    "max_position_embeddings": ("max_position_embeddings", 2048),
    "initializer_range": ("initializer_range", 0.02),
    "rms_norm_eps": ("epsilon", 1e-6),
    "attention_dropout": ("attention_dropout", 0.0),
    "classifier_dropout": ("classifier_dropout", None),
    "tie_word_embeddings": ("tied", False),
    "bos_token_id": ("bos_token_id", 1),
    "eos_token_id": ("eos_token_id", 2),
    "pad_token_id": ("pad_token_id", None),
}
FIELDS = {
    "num_kv_heads": Field(_kv_heads, "block.attention.kv_heads"),
    **published_windows.FIELDS,
}


class RotaryKeys(PublishedKeys):
    """A config.json with rotary positions in either dialect."""

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns arguments of `config()`.

        Raises:
            ValueError: A value is out of its range,
                `partial_rotary_factor` is not 1, or the family has no such
                types of layers.
        """
        arguments = published_windows.read_windows(
            values, super().read(values), self.model_type
        )
        size = arguments.get("head_dim") or (
            arguments["hidden_size"] // arguments["num_heads"]
        )
        length = arguments["max_position_embeddings"]
        rotary = read_rotary(values, size, length)
        if rotary.rotary_size != size:
            raise ValueError(
                "`partial_rotary_factor` must be 1 in the family "
                f"{self.model_type}. Received: {rotary.rotary_size / size}"
            )
        scaling = rotary.scaling
        return {**arguments, "theta": rotary.theta, "scaling": scaling}

    def write(self, config: TransformerConfig) -> dict[str, Any]:
        """Returns the config.json of a config, in both dialects."""
        positions = config.embeddings.positions
        assert isinstance(positions, RotaryConfig)
        size = config.block.attention.head_size
        values = {**super().write(config), **write_rotary(positions, size)}
        if config.pad_token_id == (config.eos_token_id or 0):
            # As published. Transformers would not train the row of this id.
            values["pad_token_id"] = None
        return values


def rotary_decoder_weights(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the decoder and all heads."""
    table = WeightTable()
    part = table.part("model", "transformer")
    part.tensor("embed_tokens.weight", "embeddings.token_table")
    part.norm("norm", "final_norm", bias=False)
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    bias = config.block.feed_forward.use_bias
    for part in table.blocks("model.layers", config.stack):
        part.norm("input_layernorm", "attention_norm", bias=False)
        part.attention(config.block.attention, "self_attn.", names)
        part.norm("post_attention_layernorm", "feed_forward_norm", bias=False)
        for name in ("gate", "up", "down"):
            part.dense(f"mlp.{name}_proj", f"feed_forward.{name}", bias=bias)
    table.output_table(config)
    table.heads(sequence="score", token="score", choice="", sequence_bias=False)
    return table.rows


# `Family.tied`.
tied_output = tied_to("model.embed_tokens.weight")
# `Family.architectures`: none is published for choices.
CLASSES = (
    "causal_lm",
    "encoder",
    "sequence_classification",
    "token_classification",
    "question_answering",
)
# `Family.ignored`, and `Family.prefixes`.
IGNORED = (r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",)
PREFIXES = {"question_answering": "transformer."}
