"""LLaMA as Meta publishes it: consolidated.*.pth, params.json, tokenizer.model.

Each file has a part of every matrix, cut for one processor. Rows of queries
and keys have the numbers of a rotated pair side by side.

Reference: https://github.com/meta-llama/llama, model.py;
https://github.com/meta-llama/llama-models, the scaling of LLaMA 3.1.
"""

from __future__ import annotations

import functools
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfllm.interop.config_file import read_json
from tfllm.interop.sources import tiktoken_file
from tfllm.interop.sources.contract import Arrays, Checkpoint, Options, Source
from tfllm.interop.sources.gguf_source import to_halves
from tfllm.interop.sources.torch_source import SECOND_OPINION
from tfllm.interop.torch_files import TorchFile

_PARAMS = "params.json"
# Name in the files -> (published name, axis along which it is cut or None).
_NAMES: dict[str, tuple[str, int | None]] = {
    "tok_embeddings": ("model.embed_tokens", 1),
    "norm": ("model.norm", None),
    "output": ("lm_head", 0),
    "layers.{}.attention.wq": ("model.layers.{}.self_attn.q_proj", 0),
    "layers.{}.attention.wk": ("model.layers.{}.self_attn.k_proj", 0),
    "layers.{}.attention.wv": ("model.layers.{}.self_attn.v_proj", 0),
    "layers.{}.attention.wo": ("model.layers.{}.self_attn.o_proj", 1),
    "layers.{}.feed_forward.w1": ("model.layers.{}.mlp.gate_proj", 0),
    "layers.{}.feed_forward.w2": ("model.layers.{}.mlp.down_proj", 1),
    "layers.{}.feed_forward.w3": ("model.layers.{}.mlp.up_proj", 0),
    "layers.{}.attention_norm": ("model.layers.{}.input_layernorm", None),
    "layers.{}.ffn_norm": (
        "model.layers.{}.post_attention_layernorm",
        None,
    ),
}
# Tables that are computed.
_BUFFERS = ("rope.freqs",)
# Bounds of the scaling of LLaMA 3.1 and 3.2, which params.json leaves out.
_SCALING = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def recognizes(path: str) -> bool:
    """Returns whether a path is a folder with params.json and .pth files."""
    folder = pathlib.Path(path)
    return (folder / _PARAMS).is_file() and any(
        folder.glob("consolidated.*.pth")
    )


def read(path: str, options: Options) -> Checkpoint:
    """Opens a folder of Meta.

    Raises:
        ValueError: A file is missing or damaged, or a part does not fit the
            others.
    """
    folder = pathlib.Path(path)
    params = read_json(folder / _PARAMS)
    names = sorted(file.name for file in folder.glob("consolidated.*.pth"))
    expected = [f"consolidated.{i:02d}.pth" for i in range(len(names))]
    if names != expected or not names:
        raise ValueError(
            f"'{path}' must have consolidated.00.pth and those that follow. "
            f"Received: {names}. Fetch the missing ones."
        )
    parts = [TorchFile(folder / name) for name in names]
    for part in parts[1:]:
        if set(part.tensors) != set(parts[0].tensors):
            raise ValueError(
                f"'{part.path}' must have the tensors of '{parts[0].path}'. "
                "Received: others. Fetch both again."
            )
    config = _config(params, parts, folder / _PARAMS)
    makers, left_out = {}, list(parts[0].others)
    for name in parts[0].tensors:
        place = _published(name)
        if place is None:
            left_out.append(name)
            continue
        published, axis = place
        heads = {
            "q_proj": config["num_attention_heads"],
            "k_proj": config["num_key_value_heads"],
        }.get(published.split(".")[-2])
        cut = _cut_axis(name, axis, parts, config)
        make = functools.partial(_join, name, cut, heads, parts)
        makers[published] = _shape(name, cut, parts), make
    config["tie_word_embeddings"] = "lm_head.weight" not in makers
    write_tokenizer, special_ids = _tokenizer(folder, config)
    config |= special_ids
    return Checkpoint(
        config,
        Arrays(makers),
        write_tokenizer=write_tokenizer,
        left_out=left_out,
        reference=SECOND_OPINION,
    )


def _config(
    params: Mapping[str, Any], parts: list[TorchFile], file: pathlib.Path
) -> dict[str, Any]:
    """Returns the published config.json.

    Raises:
        ValueError: A field or a tensor that gives a size is missing.
    """
    missing = [k for k in ("dim", "n_layers", "n_heads") if k not in params]
    tensors = ("layers.0.feed_forward.w1.weight", "output.weight")
    lacking = [name for name in tensors if name not in parts[0].tensors]
    if missing or lacking:
        what = f"`{missing[0]}`" if missing else lacking[0]
        place = file if missing else parts[0].path
        raise ValueError(
            f"'{place}' must have {what}. Received: nothing of this name. Is "
            "this a LLaMA of Meta?"
        )
    # params.json of LLaMA 1 and 2 says -1 for the vocabulary.
    rows = sum(part.tensors["output.weight"].shape[0] for part in parts)
    width = sum(part.tensors[tensors[0]].shape[0] for part in parts)
    config: dict[str, Any] = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": params["dim"],
        "num_hidden_layers": params["n_layers"],
        "num_attention_heads": params["n_heads"],
        "num_key_value_heads": params.get("n_kv_heads") or params["n_heads"],
        "intermediate_size": width,
        "vocab_size": rows,
        "rms_norm_eps": params.get("norm_eps", 1e-5),
        "rope_theta": float(params.get("rope_theta", 10000.0)),
        "max_position_embeddings": params.get("max_seq_len", 2048),
    }
    if config["rope_theta"] == 5e5:
        config |= {"bos_token_id": 128000, "eos_token_id": 128001}
        config["max_position_embeddings"] = 8192
    if params.get("use_scaled_rope"):
        # LLaMA 3.2 has 1B and 3B, with a factor of 32 in their code.
        factor = params.get("rope_scaling_factor")
        factor = factor or (32.0 if params["dim"] < 4096 else 8.0)
        config["rope_scaling"] = {**_SCALING, "factor": float(factor)}
        config["max_position_embeddings"] = 131072
    return config


def _published(name: str) -> tuple[str, int | None] | None:
    """Returns the published name of a tensor, and the axis of its parts."""
    layer, _, leaf = name.rpartition(".")
    if name in _BUFFERS:
        return None
    match = re.match(r"layers\.(\d+)\.", layer)
    key = layer.replace(match[0], "layers.{}.", 1) if match else layer
    if key not in _NAMES:
        return None
    published, axis = _NAMES[key]
    number = match.groups() if match else ()
    return f"{published}.{leaf}".format(*number), axis


def _cut_axis(
    name: str,
    axis: int | None,
    parts: list[TorchFile],
    config: Mapping[str, Any],
) -> int | None:
    """Returns the axis along which the parts of a tensor are joined.

    The token table is cut along its rows since LLaMA 3.
    """
    if name == "tok_embeddings.weight":
        width = parts[0].tensors[name].shape[1]
        axis = 0 if width == config["hidden_size"] else 1
    return axis


def _shape(
    name: str, axis: int | None, parts: list[TorchFile]
) -> tuple[int, ...]:
    """Returns the shape of a tensor of several parts."""
    shapes = [part.tensors[name].shape for part in parts]
    shape = list(shapes[0])
    if axis is not None:
        shape[axis] = sum(s[axis] for s in shapes)
    return tuple(shape)


def _join(
    name: str, axis: int | None, heads: int | None, parts: list[TorchFile]
) -> np.ndarray:
    """Reads a tensor of several parts."""
    arrays = [part.read(name) for part in parts]
    array = arrays[0] if axis is None else np.concatenate(arrays, axis)
    return array if heads is None else to_halves(array, heads)


def _tokenizer(
    folder: pathlib.Path, config: Mapping[str, Any]
) -> tuple[Callable[[pathlib.Path], None] | None, dict[str, Any]]:
    """Returns what writes the tokenizer, and its keys of config.json.

    Raises:
        ValueError: The file is damaged, or does not fit the model.
    """
    places = [folder / "tokenizer.model", folder.parent / "tokenizer.model"]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return None, {}
    if not tiktoken_file.is_token_list(file):
        return functools.partial(_copy, file), {}
    tokens = tiktoken_file.read_tokens(file)
    count = config["vocab_size"] - len(tokens)
    if count < 2:
        raise ValueError(
            f"'{file}' must leave ids for the special tokens of the model, "
            f"whose table has {config['vocab_size']} rows. Received: "
            f"{len(tokens)} tokens. Take the file that came with the weights."
        )
    version = "3.1" if "rope_scaling" in config else "3"
    special = tiktoken_file.special_tokens(version, count)
    ids = {token: len(tokens) + i for i, token in enumerate(special)}
    # Models for chats end their turns with the second one.
    names = (tiktoken_file.END, tiktoken_file.END_OF_TURN)
    ends = [ids[name] for name in names if name in ids]
    return tiktoken_file.writer(file, tokens, special), {
        "bos_token_id": ids[tiktoken_file.BEGIN],
        "eos_token_id": ends,
    }


def _copy(file: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a SentencePiece model to a folder."""
    shutil.copyfile(file, target / "tokenizer.model")


SOURCE = Source(
    "LLaMA of Meta: a folder with consolidated.00.pth, params.json and "
    "tokenizer.model",
    recognizes,
    read,
)
