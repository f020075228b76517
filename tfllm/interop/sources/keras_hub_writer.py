"""Writes model folders as presets of KerasHub, with its own classes.

KerasHub is imported when a preset is written, not before.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfllm.interop import folder_tensors, model_folder, weights
from tfllm.interop.sources.keras_hub_layout import (
    ROPE_KEYS,
    Layout,
    stable_paths,
)
from tfllm.interop.sources.keras_hub_layouts import LAYOUTS
from tfllm.interop.sources.staging import staged_folder
from tfllm.models import Family, TransformerConfig

logger = logging.getLogger(__name__)


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
    published = family.to_published(config)
    layout = LAYOUTS[kind].with_gates(published.get("is_gated_act", False))
    _check_constants(layout, published, source)
    if tokenizer is not None and tokenizer.kind not in layout.tokenizers:
        raise ValueError(
            f"the tokenizer of '{source}' must be of the kind "
            f"{' or '.join(map(repr, layout.tokenizers))}: {kind} has no "
            f"other. Received: {tokenizer.kind!r}"
        )
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
    if layout.more_arguments:
        arguments |= layout.more_arguments(published)
    scaling = published.get("rope_scaling") or {}
    if scaling.get("rope_type") == "llama3":
        arguments |= {key: scaling[ours] for ours, key in ROPE_KEYS.items()}
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
    for path, variable in stable_paths(model):
        place = layout.published(path)
        is_missing = place is None or place[0] not in tensors
        if place and is_missing and place[0].startswith(layout.optional):
            logger.warning(
                "%s is initialized at random: the model has no %s",
                path,
                place[0],
            )
            continue
        if place is None or place[0] not in tensors:
            raise ValueError(
                f"KerasHub's variable {path} must have a tensor. "
                f"Received: a model without {place[0] if place else 'one'}"
            )
        array = tensors[place[0]]
        if place[1] is not None:
            array = np.split(array, 3, axis=-1)[place[1]]
        shape = tuple(variable.shape)
        variable.assign(layout.from_published(path, array, shape))


def _tokenizer(kind: str, tokenizer: Any) -> Any:
    """Returns the tokenizer of KerasHub with the vocabulary of ours."""
    import keras_hub

    name = kind.replace("Backbone", "Tokenizer")
    cls = getattr(keras_hub.tokenizers, name)
    if tokenizer.kind == "sentence_piece":
        return cls(tokenizer.model.SerializeToString(deterministic=True))
    if tokenizer.kind == "wordpiece":
        return cls(tokenizer.vocab, lowercase=tokenizer.lowercase)
    ids = {token: i for i, token in enumerate(tokenizer.vocab)}
    return cls(ids, [" ".join(merge) for merge in tokenizer.merges])
