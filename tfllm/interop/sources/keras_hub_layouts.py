"""Which variable of KerasHub is which published tensor, in both directions.

A kernel of KerasHub is (in, out), with the heads as an axis of its own:
(D, N, H) before attention and (N, H, D) after it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_ENCODER_BLOCK = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
_GPT2_BLOCK = {
    "self_attention_layer_norm": "ln_1",
    "self_attention/query": "attn.c_attn[0]",
    "self_attention/key": "attn.c_attn[1]",
    "self_attention/value": "attn.c_attn[2]",
    "self_attention/attention_output": "attn.c_proj",
    "feedforward_layer_norm": "ln_2",
    "feedforward_intermediate_dense": "mlp.c_fc",
    "feedforward_output_dense": "mlp.c_proj",
}
_ROTARY_BLOCK = {
    "self_attention_layernorm": "input_layernorm",
    "self_attention/query": "self_attn.q_proj",
    "self_attention/key": "self_attn.k_proj",
    "self_attention/value": "self_attn.v_proj",
    "self_attention/attention_output": "self_attn.o_proj",
    "feedforward_layernorm": "post_attention_layernorm",
    "feedforward_gate_dense": "mlp.gate_proj",
    "feedforward_intermediate_dense": "mlp.up_proj",
    "feedforward_output_dense": "mlp.down_proj",
}
_LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
_LEAVES |= {"scale": "weight", "embeddings": "weight", "bias": "bias"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a class of backbones.

    Attributes:
        family: Name of the family here.
        config: Key of the class's config -> key of config.json.
        constants: What the class fixes, as keys of config.json.
        layers: Layer of the class -> published name.
        block: The same within a block.
        blocks: Published prefix of the blocks.
        leaves: Variable -> published tensor, where it is no layer's.
        matrices: "transpose" if published matrices are (out, in).
        position_rows: Rows of the published position table before the first
            of the class.
        segment_table: Published table of one row, for which the class has no
            variable. The positions have it added.
        head: Class with a head of the same layout, and its key of
            `Family.architectures`.
        optional: Prefixes of published names that a model may lack.
    """

    family: str
    config: Mapping[str, str]
    constants: Mapping[str, Any]
    layers: Mapping[str, str]
    block: Mapping[str, str]
    blocks: str
    leaves: Mapping[str, str] = dataclasses.field(default_factory=dict)
    matrices: str = "transpose"
    position_rows: int = 0
    segment_table: str | None = None
    head: tuple[str, str] | None = None
    optional: tuple[str, ...] = ()

    def published(self, path: str) -> tuple[str, int | None] | None:
        """Returns the published tensor of a variable, and its part of it.

        Args:
            path: Path of the variable in the backbone or the task.
        """
        if path in self.leaves:
            return self.leaves[path], None
        layer, _, leaf = path.rpartition("/")
        match = re.fullmatch(r"transformer_layer_(\d+)/(.+)", layer)
        name = (
            f"{self.blocks}.{match[1]}.{self.block[match[2]]}"
            if match and match[2] in self.block
            else self.layers.get(layer)
        )
        if name is None or leaf not in _LEAVES:
            return None
        part = re.fullmatch(r"(.+)\[(\d)\]", name)
        name, number = (part[1], int(part[2])) if part else (name, None)
        return f"{name}.{_LEAVES[leaf]}", number

    def to_published(self, path: str, array: np.ndarray) -> np.ndarray:
        """Returns the published tensor of a variable, or its part of one."""
        leaf = path.rpartition("/")[2]
        if leaf == "kernel":
            is_output = path.endswith("attention_output/kernel")
            rows = -1 if is_output else array.shape[0]
            columns = array.shape[-1] if is_output else -1
            array = array.reshape(rows, columns)  # [in, out]
            return array.T if self.matrices == "transpose" else array
        if leaf == "bias":
            return array.reshape(-1)
        if leaf == "reverse_embeddings":
            return array.T
        if leaf == "embeddings" and "position_embedding" in path:
            empty = np.zeros((self.position_rows, array.shape[1]), np.float32)
            return np.concatenate([empty, array])
        return array

    def from_published(
        self, path: str, array: np.ndarray, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Returns the value of a variable; see `to_published`.

        Args:
            path: Path of the variable.
            array: The published tensor, or the part of it.
            shape: Shape of the variable.
        """
        leaf = path.rpartition("/")[2]
        is_linear = leaf == "kernel" and self.matrices == "transpose"
        if is_linear or leaf == "reverse_embeddings":
            array = array.T
        if leaf == "embeddings" and "position_embedding" in path:
            array = array[self.position_rows :]
        return array.reshape(shape)


_SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "dropout": "hidden_dropout_prob",
}
_ROTARY_SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "layer_norm_epsilon": "rms_norm_eps",
    "rope_max_wavelength": "rope_theta",
}
_LLAMA = Layout(
    "llama",
    _ROTARY_SIZES,
    {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    {
        "token_embedding": "model.embed_tokens",
        "sequence_output_layernorm": "model.norm",
    },
    _ROTARY_BLOCK,
    "model.layers",
    leaves={"token_embedding/reverse_embeddings": "lm_head.weight"},
)

# Class of a backbone -> its layout.
LAYOUTS: dict[str, Layout] = {
    "BertBackbone": Layout(
        "bert",
        {**_SIZES, "num_segments": "type_vocab_size"},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12},
        {
            "token_embedding": "bert.embeddings.word_embeddings",
            "position_embedding": "bert.embeddings.position_embeddings",
            "segment_embedding": "bert.embeddings.token_type_embeddings",
            "embeddings_layer_norm": "bert.embeddings.LayerNorm",
            "pooled_dense": "bert.pooler.dense",
        },
        _ENCODER_BLOCK,
        "bert.encoder.layer",
        optional=("bert.pooler.",),
    ),
    "RobertaBackbone": Layout(
        "roberta",
        _SIZES,
        {
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "type_vocab_size": 1,
            "pad_token_id": 1,
        },
        {
            "embeddings/token_embedding": "roberta.embeddings.word_embeddings",
            "embeddings/position_embedding": (
                "roberta.embeddings.position_embeddings"
            ),
            "embeddings_layer_norm": "roberta.embeddings.LayerNorm",
            "mlm_head/intermediate_dense": "lm_head.dense",
            "mlm_head/intermediate_layer_norm": "lm_head.layer_norm",
        },
        _ENCODER_BLOCK,
        "roberta.encoder.layer",
        leaves={"mlm_head/output_bias": "lm_head.bias"},
        position_rows=2,
        segment_table="roberta.embeddings.token_type_embeddings.weight",
        head=("MaskedLM", "masked_lm"),
    ),
    "GPT2Backbone": Layout(
        "gpt2",
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "hidden_dim": "n_embd",
            "intermediate_dim": "n_inner",
            "max_sequence_length": "n_positions",
            "dropout": "resid_pdrop",
        },
        {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5},
        {
            "token_embedding": "transformer.wte",
            "position_embedding": "transformer.wpe",
            "layer_norm": "transformer.ln_f",
        },
        _GPT2_BLOCK,
        "transformer.h",
        matrices="copy",
    ),
    "Llama3Backbone": _LLAMA,
    "LlamaBackbone": _LLAMA,
}
