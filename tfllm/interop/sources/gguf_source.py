"""GGUF files of llama.cpp, whose tensors are dequantised to float32.

Reference: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md;
convert_hf_to_gguf.py of llama.cpp for names and for the order of rows.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tfllm.interop.sources import gguf_tokenizer
from tfllm.interop.sources.contract import (
    Arrays,
    Checkpoint,
    Forward,
    Options,
    Reference,
    Source,
)
from tfllm.interop.sources.gguf_config import (
    Fields,
    gpt2_config,
    rotary_config,
)
from tfllm.interop.sources.torch_source import load_transformers

_MAGIC = b"GGUF"
# Name in the file -> published name; {} is the number of a layer.
_ROTARY_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.{}.attn_norm": "model.layers.{}.input_layernorm",
    "blk.{}.attn_q": "model.layers.{}.self_attn.q_proj",
    "blk.{}.attn_k": "model.layers.{}.self_attn.k_proj",
    "blk.{}.attn_v": "model.layers.{}.self_attn.v_proj",
    "blk.{}.attn_output": "model.layers.{}.self_attn.o_proj",
    "blk.{}.ffn_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_gate": "model.layers.{}.mlp.gate_proj",
    "blk.{}.ffn_up": "model.layers.{}.mlp.up_proj",
    "blk.{}.ffn_down": "model.layers.{}.mlp.down_proj",
}
_GPT2_NAMES = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.{}.attn_norm": "transformer.h.{}.ln_1",
    "blk.{}.attn_qkv": "transformer.h.{}.attn.c_attn",
    "blk.{}.attn_output": "transformer.h.{}.attn.c_proj",
    "blk.{}.ffn_norm": "transformer.h.{}.ln_2",
    "blk.{}.ffn_up": "transformer.h.{}.mlp.c_fc",
    "blk.{}.ffn_down": "transformer.h.{}.mlp.c_proj",
}
# Of these GPT-2 has matrices of (in, out), where files have (out, in).
_GPT2_MATRICES = re.compile(r".*\.(c_attn|c_proj|c_fc)\.weight")


def recognizes(path: str) -> bool:
    """Returns whether a path is a GGUF file, or a folder with one."""
    try:
        with open(_file(path), "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


def _file(path: str) -> str:
    """Returns the GGUF file of a path.

    Raises:
        ValueError: A folder has none, or several.
    """
    if not os.path.isdir(path):
        return path
    files = sorted(pathlib.Path(path).glob("*.gguf"))
    if len(files) != 1:
        raise ValueError(
            f"'{path}' must have one .gguf file. Received: "
            f"{[file.name for file in files]}. Name the file."
        )
    return str(files[0])


def open_reader(path: str) -> Any:
    """Opens a file with the package `gguf`.

    Raises:
        ValueError: The package is missing, or the file is damaged.
    """
    try:
        import gguf
    except ImportError as error:
        raise ValueError(
            f"the package `gguf` must be installed to read '{path}'. "
            "Received: it is not. Install the extra `gguf`."
        ) from error
    try:
        return gguf.GGUFReader(path)
    # A damaged file raises errors of many kinds.
    except Exception as error:
        raise ValueError(
            f"'{path}' must be a whole GGUF file. Received: "
            f"{str(error).strip() or type(error).__name__}. Fetch it again."
        ) from error


def read(path: str, options: Options) -> Checkpoint:
    """Opens a GGUF file of LLaMA, Qwen 2 or GPT-2.

    Raises:
        ValueError: The package `gguf` is missing; or the file is damaged, or
            of another architecture.
    """
    path = _file(path)
    reader = open_reader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    architecture = fields.get("general.architecture")
    if architecture not in _ARCHITECTURES:
        raise ValueError(
            f"`general.architecture` of '{path}' must be one of "
            f"{sorted(_ARCHITECTURES)}. Received: {architecture!r}"
        )
    parts = fields.get("split.count") or 1
    if parts > 1:
        raise ValueError(
            f"'{path}' must be a whole model. Received: part "
            f"{fields.get('split.no', 0) + 1} of {parts}. Merge the parts with "
            "llama-gguf-split."
        )
    names, create_config = _ARCHITECTURES[architecture]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if "token_embd.weight" not in tensors:
        raise ValueError(
            f"'{path}' must have the tensor token_embd.weight. Received: "
            f"{len(tensors)} others. Convert the model to GGUF again."
        )
    config = create_config(Fields(path, fields), tensors)
    config |= gguf_tokenizer.special_ids(fields)
    makers, left_out = {}, []
    for name, tensor in tensors.items():
        published = _published(name, names)
        if published is None:
            left_out.append(name)
            continue
        makers[published] = _maker(tensor, published, config)
    extra_files = {}
    if template := fields.get("tokenizer.chat_template"):
        extra_files[gguf_tokenizer.CHAT_TEMPLATE_FILE] = template
    return Checkpoint(
        config,
        Arrays(makers),
        write_tokenizer=gguf_tokenizer.writer(path, fields),
        left_out=left_out,
        extra_files=extra_files,
        reference=Reference(
            "transformers", functools.partial(_load_transformers, path)
        ),
    )


def _load_transformers(
    path: str, _: pathlib.Path, architecture: str
) -> Forward:
    """Returns the forward pass of Transformers, which reads GGUF as well."""
    folder, name = os.path.split(os.path.abspath(path))
    return load_transformers(folder, architecture, gguf_file=name)


_Names = Mapping[str, str]
_CreateConfig = Callable[[Fields, Mapping[str, Any]], dict[str, Any]]
# `general.architecture` -> names of tensors, and the config.
_ARCHITECTURES: dict[str, tuple[_Names, _CreateConfig]] = {
    "llama": (_ROTARY_NAMES, rotary_config),
    "qwen2": (_ROTARY_NAMES, rotary_config),
    "gpt2": (_GPT2_NAMES, gpt2_config),
}


def _published(name: str, names: _Names) -> str | None:
    """Returns the published name of a tensor, or None if it has none."""
    layer, _, part = name.rpartition(".")
    number = re.match(r"blk\.(\d+)\.", name)
    if number:
        layer = layer.replace(number[0], "blk.{}.", 1)
    if layer not in names:
        return None
    return f"{names[layer]}.{part}".format(*(number.groups() if number else ()))


def _maker(
    tensor: Any, published: str, config: Mapping[str, Any]
) -> tuple[tuple[int, ...], Callable[[], np.ndarray]]:
    """Returns the shape of a published tensor, and what makes it."""
    # A file has the last axis first.
    shape = tuple(int(size) for size in reversed(tensor.shape))
    steps = list(_changes(published, config))
    if config["model_type"] == "gpt2" and _GPT2_MATRICES.fullmatch(published):
        shape = shape[::-1]

    def make() -> np.ndarray:
        import gguf

        array = gguf.dequantize(tensor.data, tensor.tensor_type)
        for change in steps:
            array = change(array)
        return array

    return shape, make


def _changes(
    published: str, config: Mapping[str, Any]
) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Yields what is done to a tensor of a file."""
    if config["model_type"] == "gpt2" and _GPT2_MATRICES.fullmatch(published):
        yield np.transpose
    if config["model_type"] == "llama":
        for name, heads in (
            ("q_proj", "num_attention_heads"),
            ("k_proj", "num_key_value_heads"),
        ):
            if f".{name}." in published:
                yield functools.partial(to_halves, num_heads=config[heads])


def to_halves(rows: np.ndarray, num_heads: int) -> np.ndarray:
    """Moves the rows of rotated pairs from side by side to two halves.

    Args:
        rows: [N x H, ...], where a head has rows 2i and 2i + 1 of pair i.
        num_heads: N.

    Returns:
        [N x H, ...], where a head has rows i and H / 2 + i of pair i.
    """
    pairs = rows.reshape(num_heads, -1, 2, *rows.shape[1:])  # [N, H/2, 2, ...]
    return pairs.swapaxes(1, 2).reshape(rows.shape)


SOURCE = Source(
    "a GGUF file of LLaMA, Qwen 2 or GPT-2, or a folder with one",
    recognizes,
    read,
)
