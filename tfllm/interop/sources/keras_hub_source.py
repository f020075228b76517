"""Presets of KerasHub, read with its own classes.

KerasHub is imported when a preset is read, not before.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfllm.interop.config_file import CONFIG_FILE
from tfllm.interop.sources.contract import (
    Arrays,
    Checkpoint,
    Forward,
    Options,
    Reference,
    Source,
)
from tfllm.interop.sources.keras_hub_layout import (
    ROPE,
    ROPE_KEYS,
    Layout,
    stable_paths,
)
from tfllm.interop.sources.keras_hub_layouts import LAYOUTS
from tfllm.models import FAMILIES

logger = logging.getLogger(__name__)

_LIBRARY = "keras-hub"
_TASK_WEIGHTS = "task.weights.h5"
# Asset of a tokenizer -> name in a model folder.
_ASSETS = {
    "vocabulary.txt": "vocab.txt",
    "vocabulary.json": "vocab.json",
    "merges.txt": "merges.txt",
    "vocabulary.spm": "tokenizer.model",
}


def recognizes(path: str) -> bool:
    """Returns whether a path is a folder with a preset."""
    try:
        content = json.loads(pathlib.Path(path, CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return "keras_hub" in str(content.get("registered_name"))


def read(path: str, options: Options) -> Checkpoint:
    """Opens a preset: a folder, or a name such as "bert_base_en".

    Raises:
        ValueError: KerasHub does not load the preset, or it is of a class
            that has no layout here.
    """
    backbone = _loaded(path, "models.Backbone")
    kind = type(backbone).__name__
    if kind not in LAYOUTS:
        raise ValueError(
            f"the preset '{path}' must be one of {sorted(LAYOUTS)}. "
            f"Received: {kind}"
        )
    theirs = backbone.get_config()
    layout = LAYOUTS[kind].with_gates(theirs.get("use_gated_activation", False))
    model, architecture = backbone, _plain(layout)
    if layout.head and _has_file(path, _TASK_WEIGHTS):
        model = _loaded(path, f"models.{layout.head[0]}", preprocessor=None)
        architecture = layout.head[1]
    config = _config(layout, theirs, architecture)
    makers, left_out = _makers(layout, model, config)
    if not layout.head and _has_file(path, _TASK_WEIGHTS):
        left_out.append(f"{_TASK_WEIGHTS}: a head of another form")
    return Checkpoint(
        config,
        Arrays(makers),
        write_tokenizer=_tokenizer_writer(path),
        left_out=left_out,
        reference=Reference(_LIBRARY, lambda *_: _forward(model, layout)),
    )


def _plain(layout: Layout) -> str:
    """Returns the key of `Family.architectures` of a backbone alone."""
    names = FAMILIES[layout.family].architectures
    heads = ("causal_lm", "seq2seq_lm")
    return next((head for head in heads if head in names), "encoder")


def _loaded(path: str, name: str, **arguments: Any) -> Any:
    """Loads a preset with a class of KerasHub.

    Args:
        path: Folder or name.
        name: Path of the class in the package.
        **arguments: More arguments of `from_preset`.
    """
    import keras_hub

    owner, _, attribute = name.rpartition(".")
    cls = getattr(getattr(keras_hub, owner), attribute)
    try:
        return cls.from_preset(path, **arguments)
    # Networks and damaged files raise errors of many kinds.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"'{path}' must be a preset that KerasHub loads. Received: "
            f"{lines[0]}"
        ) from error


def _has_file(path: str, name: str) -> bool:
    """Returns whether a preset has a file."""
    from keras_hub.src.utils import preset_utils

    return bool(preset_utils.check_file_exists(path, name))


def _config(
    layout: Layout, theirs: Mapping[str, Any], architecture: str
) -> dict[str, Any]:
    """Returns the published config.json of a backbone."""
    config = {
        **{ours: theirs[key] for key, ours in layout.config.items()},
        **layout.constants,
        **(layout.more_config(theirs) if layout.more_config else {}),
    }
    family = FAMILIES[layout.family]
    config |= {
        "model_type": layout.family,
        "architectures": [family.architectures[architecture]],
    }
    if layout.position_rows:
        config["max_position_embeddings"] += layout.position_rows
    if theirs.get("rope_position_scaling_factor", 1.0) != 1.0:
        config["rope_scaling"] = {
            "rope_type": "linear",
            "factor": theirs["rope_position_scaling_factor"],
        }
    if theirs.get(ROPE) is not None:
        scaling = {ours: theirs[key] for ours, key in ROPE_KEYS.items()}
        config["rope_scaling"] = {"rope_type": "llama3", **scaling}
    return config


def _makers(
    layout: Layout, model: Any, config: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Returns what makes the published tensors, and variables without one."""
    parts: dict[str, dict[int | None, Any]] = {}
    left_out = []
    for path, variable in stable_paths(model):
        place = layout.published(path)
        if place is None:
            left_out.append(path)
            continue
        parts.setdefault(place[0], {})[place[1]] = variable

    def make(variables: dict[int | None, Any]) -> np.ndarray:
        arrays = [
            layout.to_published(v.path, np.asarray(v.value))
            for _, v in sorted(variables.items(), key=lambda item: item[0] or 0)
        ]
        return arrays[0] if None in variables else np.concatenate(arrays, -1)

    makers = {}
    for name, variables in parts.items():
        maker = functools.partial(make, variables)
        makers[name] = maker().shape, maker
    if layout.segment_table:
        shape = (config["type_vocab_size"], config["hidden_size"])
        makers[layout.segment_table] = shape, functools.partial(np.zeros, shape)
    if layout.family == "llama":
        config["tie_word_embeddings"] = "lm_head.weight" not in makers
    return makers, left_out


def _tokenizer_writer(path: str) -> Callable[[pathlib.Path], None] | None:
    """Returns what writes the tokenizer of a preset; None without one."""
    if not _has_file(path, "tokenizer.json"):
        return None

    def write(folder: pathlib.Path) -> None:
        tokenizer = _loaded(path, "tokenizers.Tokenizer")
        with tempfile.TemporaryDirectory() as assets:
            tokenizer.save_assets(assets)
            for name, ours in _ASSETS.items():
                if os.path.exists(os.path.join(assets, name)):
                    shutil.move(os.path.join(assets, name), folder / ours)
        config = {}
        if (folder / "vocab.txt").is_file():
            config["do_lower_case"] = bool(tokenizer.lowercase)
        text = json.dumps(config)
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")

    return write


def _forward(model: Any, layout: Layout) -> Forward:
    """Returns the forward pass of a backbone."""
    backbone = getattr(model, "backbone", model)
    head = _plain(layout)

    def forward(token_ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        values = {
            "token_ids": token_ids,
            "padding_mask": mask,
            "segment_ids": np.zeros_like(token_ids),
        }
        sides = ("encoder_", "decoder_") if head == "seq2seq_lm" else ("",)
        inputs = {f"{s}{name}": x for s in sides for name, x in values.items()}
        outputs = backbone({name: inputs[name] for name in backbone.input})
        if isinstance(outputs, Mapping):
            outputs = outputs[f"{sides[-1]}sequence_output"]
        if layout.scales_tied and backbone.tie_embedding_weights:
            outputs = outputs * backbone.hidden_dim**-0.5
        if head != "encoder":
            outputs = backbone.token_embedding(outputs, reverse=True)
        return np.asarray(outputs)

    return forward


SOURCE = Source(
    "a preset of KerasHub of BERT, RoBERTa, GPT-2, LLaMA or T5: a folder, or "
    "with --from=keras_hub a name such as bert_base_en",
    recognizes,
    read,
    is_name=True,
)
