"""Writes model folders in the layout of Hugging Face; see `model_folder`."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

from tfllm import file_access
from tfllm.interop import (
    embedding_folder,
    generation_file,
    model_card,
    stored_task,
    tensor_files,
    weights,
)
from tfllm.interop.config_file import CONFIG_FILE, OWN_KEY, check_vocabulary
from tfllm.interop.local_folders import named_write_errors, staging_folder
from tfllm.models import FAMILIES, Family
from tfllm.version import __version__

if TYPE_CHECKING:
    import keras

    from tfllm.tokenizers import Tokenizer

MAX_SHARD_BYTES = 5 * 10**9


def save(
    model: keras.Layer,
    folder: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    extra_config: dict[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Saves a model as a folder in the layout of Hugging Face.

    Each file is written whole or not at all, config.json last: a folder that
    has one is complete. Weights are float32 under any policy. A model card
    that its user edited is kept. `companions` of a task have folders of their
    own in it.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        folder: Local or remote folder, created if missing.
        tokenizer: Tokenizer to save; None: that of the task, if it has one.
        extra_config: More keys for config.json, or None.
        max_shard_bytes: Largest weights file. Larger models are written as
            shards with an index.

    Raises:
        ValueError: The tokenizer does not fit the model; or the model has
            weights that neither its family nor a method saves.
        OSError: The folder cannot be written, or the disk is full.
    """
    folder = os.path.expanduser(os.fspath(folder))
    if tokenizer is None:
        tokenizer = getattr(model, "tokenizer", None)
    with named_write_errors(folder), staging_folder(folder) as local:
        _write(model, local, tokenizer, extra_config or {}, max_shard_bytes)
    with named_write_errors(folder):
        model_card.write(folder)


def _write(
    model: keras.Layer,
    local: pathlib.Path,
    tokenizer: Tokenizer | None,
    extra_config: dict[str, Any],
    max_shard_bytes: int,
) -> None:
    """Writes the files of a model to a local folder; see `save`."""
    root = weights.root_of(model)
    family = FAMILIES[root.config.family]
    if tokenizer is not None:
        check_vocabulary(tokenizer, root.config)
    methods, companions = (
        stored_task.methods_of(model),
        stored_task.companions_of(model),
    )
    covered = [v for method in methods for v in method.covered(model)]
    covered += [v for other in companions.values() for v in other.weights]
    weights.check_covered(model, family, covered)
    config = _published_config(model, family, extra_config)
    kind = weights.architecture_of(model)
    shapes: dict[str, tuple[int, ...]] = {
        family.name_in_files(name, kind): tensor.shape
        for name, tensor in weights.computed_tensors(model, family).items()
    }
    shapes |= {
        family.name_in_files(weight.published, kind): weights.published_shape(
            weight, variable
        )
        for weight, variable in weights.weights_of(model, family)
        # `write_modules` writes the tensors of modules.
        if "/" not in weight.published
    }
    local.mkdir(parents=True, exist_ok=True)
    for name, other in companions.items():
        _write(other, local / name, tokenizer, {}, max_shard_bytes)
    if tokenizer is not None:
        tokenizer.save(str(local), family.tokenizer)
    tensors = weights.published_tensors(model, family)
    tensor_files.write(
        local,
        shapes,
        itertools.islice(tensors, len(shapes)),
        max_shard_bytes,
    )
    if getattr(model, "embeds", False):
        embedding_folder.write_modules(model, local, tensors)
    if _generates(model):
        generation_file.write_generation_config(model, root.config, local)
    for method in methods:
        method.write(model, str(local))
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    with file_access.write_atomically(str(local / CONFIG_FILE)) as file:
        file.write(text)


def _generates(model: keras.Layer) -> bool:
    """Returns whether a model generates text."""
    # A model without a task is asked for its head.
    has_head = hasattr(weights.root_of(model), "lm_head")
    return getattr(model, "generates", has_head)


def _published_config(
    model: keras.Layer, family: Family, extra: dict[str, Any]
) -> dict[str, Any]:
    """Returns config.json: published keys, those of tfllm, and `extra`."""
    root = weights.root_of(model)
    settings = {"version": __version__}
    labels = {}
    if root is not model and hasattr(model, "objectives"):
        settings |= stored_task.task_settings(model)
        labels = model.to_published()
    architecture = weights.architecture_of(model)
    published = family.to_published(root.config)
    if architecture == "sequence_classification":
        # Transformers finds the last token of padded rows by this id.
        published["pad_token_id"] = root.config.pad_token_id
    return {
        **published,
        **labels,
        "architectures": [family.architectures[architecture]],
        "dtype": "float32",
        OWN_KEY: settings,
        **extra,
    }
