"""The config.json that the metadata of a GGUF file stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# Key of config.json -> key of the file after the name of the architecture.
_ROTARY_KEYS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
_GPT2_KEYS = {
    "n_embd": "embedding_length",
    "n_layer": "block_count",
    "n_inner": "feed_forward_length",
    "n_head": "attention.head_count",
    "n_positions": "context_length",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
}


class Fields:
    """The metadata of a file.

    Args:
        path: The file, for messages.
        fields: Name -> value.
    """

    def __init__(self, path: str, fields: Mapping[str, Any]) -> None:
        self._path, self._fields = path, fields
        self.architecture = fields["general.architecture"]

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key of the architecture."""
        return self._fields.get(f"{self.architecture}.{key}", default)

    def take(self, keys: Mapping[str, str]) -> dict[str, Any]:
        """Returns config.json's values of keys of the architecture.

        Raises:
            ValueError: A key is missing, or no number above 0.
        """
        missing = sorted(k for k in keys.values() if self.get(k) is None)
        if missing:
            raise ValueError(
                f"'{self._path}' must have `{self.architecture}.{missing[0]}`. "
                "Received: no such key. Convert the model to GGUF again."
            )
        for key in keys.values():
            value = self.get(key)
            if not isinstance(value, int | float) or value <= 0:
                raise ValueError(
                    f"`{self.architecture}.{key}` of '{self._path}' must be a "
                    f"number above 0. Received: {value!r}, which tfllm does "
                    "not support."
                )
        return {ours: _rounded(self.get(key)) for ours, key in keys.items()}


def _rounded(value: Any) -> Any:
    """Returns a number as it was before it became a float32."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def rotary_config(fields: Fields, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Builds config.json for a LLaMA or Qwen 2 model from GGUF metadata."""
    keys = dict(_ROTARY_KEYS)
    if fields.get("attention.head_count_kv") is None:
        keys["num_key_value_heads"] = "attention.head_count"
    config = fields.take(keys)
    width = config["hidden_size"] // config["num_attention_heads"]
    config |= {
        "model_type": fields.architecture,
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "rope_theta": _rounded(fields.get("rope.freq_base", 10000.0)),
        "tie_word_embeddings": "output.weight" not in tensors,
        "hidden_act": "silu",
    }
    kind = fields.get("rope.scaling.type")
    if kind not in (None, "none"):
        config["rope_scaling"] = {
            "rope_type": kind,
            "factor": _rounded(fields.get("rope.scaling.factor", 1.0)),
        }
    if fields.architecture == "llama":
        config |= {
            "head_dim": fields.get("attention.key_length")
            or fields.get("rope.dimension_count", width),
            "attention_bias": "blk.0.attn_q.bias" in tensors,
            "architectures": ["LlamaForCausalLM"],
        }
        if "rope_freqs.weight" in tensors:
            config["rope_scaling"] = _llama3_scaling(
                config, tensors["rope_freqs.weight"]
            )
    else:
        config["architectures"] = ["Qwen2ForCausalLM"]
    return config


# Wavelengths between which the scaling of LLaMA 3 passes from none to whole.
_LOW, _HIGH, _ORIGINAL = 1.0, 4.0, 8192


def _llama3_scaling(config: Mapping[str, Any], tensor: Any) -> dict[str, Any]:
    """Returns the scaling that a table of factors stands for.

    The file has the factor of each frequency, and not how they were made. All
    LLaMA models since 3.1 have the same bounds, which this checks.

    Raises:
        ValueError: The factors are others.
    """
    factors = np.asarray(tensor.data, np.float64)
    scaling = {
        "rope_type": "llama3",
        "factor": _rounded(float(factors.max())),
        "low_freq_factor": _LOW,
        "high_freq_factor": _HIGH,
        "original_max_position_embeddings": _ORIGINAL,
    }
    size = 2 * len(factors)
    steps = np.arange(0, size, 2) / size
    lengths = 2 * np.pi * config["rope_theta"] ** steps
    share = np.clip((_ORIGINAL / lengths - _LOW) / (_HIGH - _LOW), 0, 1)
    expected = 1 / ((1 - share) / scaling["factor"] + share)
    if not np.allclose(factors, expected, rtol=1e-3):
        raise ValueError(
            "`rope_freqs.weight` must hold the factors of LLaMA 3.1. Received: "
            f"{factors[:4].tolist()} ... {factors[-1]}"
        )
    return scaling


def gpt2_config(fields: Fields, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config.json of GPT-2."""
    return {
        **fields.take(_GPT2_KEYS),
        "model_type": "gpt2",
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
    }
