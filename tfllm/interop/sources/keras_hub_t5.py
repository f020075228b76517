"""The layout of KerasHub's T5Backbone, an encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfllm.interop.sources.keras_hub_layout import Layout

# Function of Keras or KerasHub -> `dense_act_fn` of config.json. The gelu of
# Keras is the exact one.
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_approximate": "gelu_new",
    "silu": "silu",
    "tanh": "tanh",
}


def _config(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config.json keys that are computed, not copied.

    Raises:
        ValueError: The activation is not supported.
    """
    stated = theirs["activation"]
    name = stated if isinstance(stated, str) else str(stated.get("config"))
    activation = _ACTIVATIONS.get(name.rpartition(">")[2])
    if activation is None:
        raise ValueError(
            "`activation` of a T5Backbone must be one of "
            f"{sorted(_ACTIVATIONS)}. Received: {stated!r}"
        )
    gated = theirs["use_gated_activation"]
    short = "gelu" if gated and activation == "gelu_new" else activation
    return {
        "num_decoder_layers": theirs["num_layers"],
        "d_kv": theirs["key_value_dim"]
        or theirs["hidden_dim"] // theirs["num_heads"],
        "dense_act_fn": activation,
        "is_gated_act": gated,
        "feed_forward_proj": f"gated-{short}" if gated else short,
        # Transformers 5 has the second key for the same.
        "scale_decoder_outputs": theirs["tie_embedding_weights"],
    }


def _arguments(published: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that no key of config.json is equal to.

    Raises:
        ValueError: The class has no such activation or decoder.
    """
    from keras_hub.src.utils.keras_utils import gelu_approximate

    activation = published["dense_act_fn"]
    names = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    if activation not in names:
        raise ValueError(
            f"`dense_act_fn` must be one of {sorted(names)} in KerasHub. "
            f"Received: {activation!r}"
        )
    layers = published["num_layers"], published["num_decoder_layers"]
    if layers[0] != layers[1]:
        raise ValueError(
            "`num_decoder_layers` must be `num_layers` in KerasHub. Received: "
            f"{layers[1]} and {layers[0]}"
        )
    is_tanh_form = activation == "gelu_new"
    return {
        "activation": gelu_approximate if is_tanh_form else names[activation],
        "key_value_dim": published["d_kv"],
    }


_BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias"
_ATTENTION = {
    "query_projector": "q",
    "key_projector": "k",
    "value_projector": "v",
    "output_projector": "o",
}


def _block(last: int, gated: bool) -> dict[str, str]:
    """Returns layer of a block -> published name.

    Args:
        last: Number of the published feed-forward layer.
        gated: Whether it has a gate.
    """
    parts = {"self_attention": "layer.0.SelfAttention"}
    if last == 2:
        parts["cross_attention"] = "layer.1.EncDecAttention"
    names = {
        f"{layer}/{theirs}": f"{name}.{ours}"
        for layer, name in parts.items()
        for theirs, ours in _ATTENTION.items()
    }
    dense = f"layer.{last}.DenseReluDense"
    names |= {
        "input_projector": f"{dense}.{'wi_0' if gated else 'wi'}",
        "gate_projector": f"{dense}.wi_1",
        "output_projector": f"{dense}.wo",
    }
    # Norms have no names of their own; see `stable_paths`.
    norms = {f"t5_layer_norm[{i}]": i for i in range(last + 1)}
    return names | {n: f"layer.{i}.layer_norm" for n, i in norms.items()}


def _layout(gated: bool) -> Layout:
    """Returns the layout of a backbone with or without gates."""
    return Layout(
        "t5",
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "num_layers",
            "num_heads": "num_heads",
            "hidden_dim": "d_model",
            "intermediate_dim": "d_ff",
            "dropout": "dropout_rate",
            "use_gated_activation": "is_gated_act",
            "layer_norm_epsilon": "layer_norm_epsilon",
            "tie_embedding_weights": "tie_word_embeddings",
        },
        {
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
            "is_encoder_decoder": True,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        },
        {
            "token_embedding": "transformer.shared",
            "encoder_output_layer_norm": "transformer.encoder.final_layer_norm",
            "decoder_output_layer_norm": "transformer.decoder.final_layer_norm",
            # Both are created with the same path.
            "self_attention[0]": f"transformer.encoder.{_BIAS}",
            "self_attention[1]": f"transformer.decoder.{_BIAS}",
        },
        {
            "transformer_encoder_layer": (
                "transformer.encoder.block",
                _block(1, gated),
            ),
            "transformer_decoder_layer": (
                "transformer.decoder.block",
                _block(2, gated),
            ),
        },
        leaves={"token_embedding/reverse_embeddings": "lm_head.weight"},
        tokenizers=("sentence_piece",),
        more_config=_config,
        more_arguments=_arguments,
        gated=None if gated else _layout(True),
        scales_tied=True,
    )


LAYOUT = _layout(False)
