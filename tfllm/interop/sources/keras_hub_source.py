"""Presets of KerasHub, read and written with its own classes.

KerasHub is imported when a preset is read or written, not before.
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

from tfllm.interop import folder_tensors, model_folder, weights
from tfllm.interop.config_file import CONFIG_FILE
from tfllm.interop.sources.contract import (
    Arrays,
    Checkpoint,
    Forward,
    Options,
    Reference,
    Source,
)
from tfllm.interop.sources.keras_hub_layouts import LAYOUTS, Layout
from tfllm.interop.sources.staging import staged_folder
from tfllm.models import FAMILIES, Family, TransformerConfig

logger = logging.getLogger(__name__)

_LIBRARY = "keras-hub"
_TASK_WEIGHTS = "task.weights.h5"
_ROPE = "rope_frequency_adjustment_factor"
# Key of `rope_scaling` in config.json -> argument of a backbone.
_ROPE_KEYS = {
    "factor": _ROPE,
    "low_freq_factor": "rope_low_freq_factor",
    "high_freq_factor": "rope_high_freq_factor",
    "original_max_position_embeddings": "rope_pretraining_sequence_length",
}
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
    layout = LAYOUTS[kind]
    model, architecture = backbone, _plain(layout)
    if layout.head and _has_file(path, _TASK_WEIGHTS):
        model = _loaded(path, f"models.{layout.head[0]}", preprocessor=None)
        architecture = layout.head[1]
    config = _config(layout, backbone.get_config(), architecture)
    makers, left_out = _makers(layout, model, config)
    if not layout.head and _has_file(path, _TASK_WEIGHTS):
        left_out.append(f"{_TASK_WEIGHTS}: a head of another form")
    return Checkpoint(
        config,
        Arrays(makers),
        write_tokenizer=_tokenizer_writer(path),
        left_out=left_out,
        reference=Reference(
            _LIBRARY, lambda *_: _forward(model, layout)
        ),
    )


def _plain(layout: Layout) -> str:
    """Returns the key of `Family.architectures` of a backbone alone."""
    names = FAMILIES[layout.family].architectures
    return "causal_lm" if "causal_lm" in names else "encoder"


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
    if theirs.get(_ROPE) is not None:
        scaling = {ours: theirs[key] for ours, key in _ROPE_KEYS.items()}
        config["rope_scaling"] = {"rope_type": "llama3", **scaling}
    return config


def _makers(
    layout: Layout, model: Any, config: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Returns what makes the published tensors, and variables without one."""
    parts: dict[str, dict[int | None, Any]] = {}
    left_out = []
    for variable in model.weights:
        place = layout.published(variable.path)
        if place is None:
            left_out.append(variable.path)
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
    reads_segments = "segment_ids" in backbone.input

    def forward(token_ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        inputs = {"token_ids": token_ids, "padding_mask": mask}
        if reads_segments:
            inputs["segment_ids"] = np.zeros_like(token_ids)
        outputs = backbone(inputs)
        if isinstance(outputs, Mapping):
            outputs = outputs["sequence_output"]
        if _plain(layout) == "causal_lm":
            outputs = backbone.token_embedding(outputs, reverse=True)
        return np.asarray(outputs)

    return forward


def write(source: str, folder: str, revision: str | None = None) -> None:
    """Writes a model folder as a preset that KerasHub's classes load.

    Args:
        source: Local folder or hub id.
        folder: Folder to write; new or empty.
        revision: Branch, tag or commit of a hub id.

    Raises:
        ValueError: KerasHub has no class for the family, or none that
            computes the same.
    """
    with model_folder.local_folder(source, revision) as local:
        family, config = model_folder.read_config(local)
        tensors = _stored_tensors(local, family, config)
        # Its loading checks that all tensors are there.
        tokenizer = model_folder.load(local).tokenizer
    kinds = [k for k, lay in LAYOUTS.items() if lay.family == family.name]
    if not kinds:
        raise ValueError(
            "`input` must be of a family that KerasHub's classes hold: "
            f"{sorted({lay.family for lay in LAYOUTS.values()})}. Received: "
            f"{family.name!r}"
        )
    # Of two classes that differ in their tokenizer alone, the first has BPE.
    is_bpe = tokenizer is None or tokenizer.kind != "sentence_piece"
    kind = kinds[0] if is_bpe else kinds[-1]
    layout = LAYOUTS[kind]
    published = family.to_published(config)
    _check_constants(layout, published, source)
    arguments = _arguments(layout, published)
    model = _create(kind, layout, arguments, tensors)
    _assign(layout, model, tensors)
    with staged_folder(folder) as place:
        model.save_to_preset(str(place))
        if tokenizer is not None:
            _tokenizer(kind, tokenizer).save_to_preset(str(place))


def _stored_tensors(
    folder: pathlib.Path, family: Family, config: TransformerConfig
) -> dict[str, np.ndarray]:
    """Returns the tensors of a folder by published name, with all heads."""
    source = folder_tensors.open_tensors(folder)
    known = {weight.published for weight in family.weights(config)}
    names = weights.stored_names(family, config, known, source)
    return {new: source.read(n) for new, n in names.items() if new in known}


def _check_constants(
    layout: Layout, published: Mapping[str, Any], source: str
) -> None:
    """Raises ValueError for a value that a class of KerasHub fixes."""
    for key, value in layout.constants.items():
        if published[key] != value:
            raise ValueError(
                f"`{key}` of '{source}' must be {value!r}: the class of "
                f"KerasHub has no other. Received: {published[key]!r}"
            )
    heads = published.get("num_attention_heads", 0)
    width = published.get("head_dim")
    if width is not None and width * heads != published["hidden_size"]:
        raise ValueError(
            f"`head_dim` of '{source}' must be `hidden_size` / "
            f"`num_attention_heads` in KerasHub. Received: {width}"
        )


def _arguments(layout: Layout, published: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a backbone."""
    arguments = {key: published[ours] for key, ours in layout.config.items()}
    if layout.position_rows:
        arguments["max_sequence_length"] -= layout.position_rows
    scaling = published.get("rope_scaling") or {}
    if scaling.get("rope_type") == "llama3":
        arguments |= {key: scaling[ours] for ours, key in _ROPE_KEYS.items()}
    elif scaling.get("rope_type") == "linear":
        arguments["rope_position_scaling_factor"] = scaling["factor"]
    elif scaling:
        raise ValueError(
            "`rope_scaling` must be of the kind 'llama3' or 'linear' in "
            f"KerasHub. Received: {scaling}"
        )
    return arguments


def _create(
    kind: str,
    layout: Layout,
    arguments: dict[str, Any],
    tensors: dict[str, np.ndarray],
) -> Any:
    """Creates a backbone, with the head if the tensors have it."""
    import keras_hub

    if layout.family == "llama":
        # NOTE: a saved Llama3Backbone forgets `tie_word_embeddings`, so the
        # table of the output is a copy.
        table = tensors["model.embed_tokens.weight"]
        tensors.setdefault("lm_head.weight", table)
    if layout.segment_table:
        # The class has no such table: every position gets its only row.
        (name,) = (
            n for n in tensors if n.endswith("position_embeddings.weight")
        )
        tensors[name] = tensors[name] + tensors.pop(layout.segment_table)[:1]
    backbone = getattr(keras_hub.models, kind)(**arguments)
    names = {place[0] for p in layout.leaves if (place := layout.published(p))}
    if layout.head and names & set(tensors):
        task = getattr(
            keras_hub.models, kind.replace("Backbone", layout.head[0])
        )
        return task(backbone, preprocessor=None)
    return backbone


def _assign(
    layout: Layout, model: Any, tensors: Mapping[str, np.ndarray]
) -> None:
    """Assigns published tensors to the variables of KerasHub."""
    for variable in model.weights:
        place = layout.published(variable.path)
        is_missing = place is None or place[0] not in tensors
        if place and is_missing and place[0].startswith(layout.optional):
            logger.warning(
                "%s is initialized at random: the model has no %s",
                variable.path,
                place[0],
            )
            continue
        if place is None or place[0] not in tensors:
            raise ValueError(
                f"KerasHub's variable {variable.path} must have a tensor. "
                f"Received: a model without {place[0] if place else 'one'}"
            )
        array = tensors[place[0]]
        if place[1] is not None:
            array = np.split(array, 3, axis=-1)[place[1]]
        shape = tuple(variable.shape)
        variable.assign(layout.from_published(variable.path, array, shape))


def _tokenizer(kind: str, tokenizer: Any) -> Any:
    """Returns the tokenizer of KerasHub with the vocabulary of ours."""
    import keras_hub

    if tokenizer.kind == "sentence_piece":
        proto = tokenizer.model.SerializeToString(deterministic=True)
        return keras_hub.tokenizers.LlamaTokenizer(proto)
    name = kind.replace("Backbone", "Tokenizer")
    cls = getattr(keras_hub.tokenizers, name)
    if tokenizer.kind == "wordpiece":
        return cls(tokenizer.vocab, lowercase=tokenizer.lowercase)
    ids = {token: i for i, token in enumerate(tokenizer.vocab)}
    return cls(ids, [" ".join(merge) for merge in tokenizer.merges])


SOURCE = Source(
    "a preset of KerasHub of BERT, RoBERTa, GPT-2 or LLaMA: a folder, or with "
    "--from=keras_hub a name such as bert_base_en",
    recognizes,
    read,
    is_name=True,
)
