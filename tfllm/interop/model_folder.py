"""Saves and loads model folders in the layout of Hugging Face.

    config.json  model.safetensors (or shards and their index)  vocab.txt ...

`config.json` has the published keys of the family and a key `tfllm`, which
describes the task; other libraries keep unknown keys. Needs no TensorFlow,
except for `load`, which returns a task.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tfllm import file_access
from tfllm.interop import (
    embedding_tensors,
    folder_tensors,
    generation_file,
    stored_task,
    tensor_files,
    tokenizer_lengths,
    weights,
)
from tfllm.interop.config_file import (
    CONFIG_FILE,
    check_vocabulary,
    read_config,
    resolve_model,
)
from tfllm.interop.folder_writer import save
from tfllm.interop.local_folders import local_folder
from tfllm.interop.weights import LoadReport
from tfllm.models import FAMILIES, TransformerConfig

if TYPE_CHECKING:
    import keras

    from tfllm.tasks import Task
    from tfllm.tokenizers import Tokenizer

__all__ = [
    "LoadReport",
    "check_vocabulary",
    "init_from",
    "load",
    "load_weights",
    "local_folder",
    "read_config",
    "resolve_model",
    "save",
    "stamps",
]

logger = logging.getLogger(__name__)

# Files that decide the results of a model: config, weights, tokenizer.
_DECISIVE = (
    CONFIG_FILE,
    "generation_config.json",
    "model*.safetensors",
    "pytorch_model*.bin*",
    "tokenizer*.json",
    "special_tokens_map.json",
    "*vocab.*",
    "merges.txt",
    "*.model",
    "*.spm",
    "added_tokens.json",
    # sentence-transformers.
    "modules.json",
    "*sentence*.json",
    "[0-9]_*/*",
)

# A folder with a tokenizer has at least one of these.
_TOKENIZERS: tuple[str, ...] = ("tokenizer.json", "vocab.json", "vocab.txt")
_TOKENIZERS += ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")

# Fields of blocks that may differ between a folder and a model.
_FREE = re.compile(r"dropout|initializer_range")


def load_weights(
    model: keras.Layer, folder: str | os.PathLike[str], partial: bool = False
) -> LoadReport:
    """Loads the weights of a model folder into a model.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        folder: Local or remote folder, or a hub id.
        partial: Keep the values of heads that the folder lacks or has in
            another shape, and skip tensors that the model does not use.

    Returns:
        The names that did not fit; empty unless `partial`.

    Raises:
        ValueError: The folder is damaged, of another family, does not fit,
            or holds weights of methods that the model does not have. No
            weight is changed then.
    """
    family = FAMILIES[weights.root_of(model).config.family]
    with local_folder(folder) as local:
        stored_family, _ = read_config(local)
        if stored_family.name != family.name:
            raise ValueError(
                f"model folder '{folder}' must be of the model's family, "
                f"{family.name!r}. Received: family {stored_family.name!r}. "
                "Name the folder of another run, or change `model`."
            )
        stored = {type(m).name for m in stored_task.read_methods(local)}
        methods = [m for m in stored_task.methods_of(model) if m.name in stored]
        if missing := sorted(stored - {method.name for method in methods}):
            raise ValueError(
                f"model folder '{folder}' holds weights of the methods "
                f"{missing}, and so must the model. Received: a model without "
                "them. Load the folder with `tfllm.load`."
            )
        embeds = getattr(model, "embeds", False)
        open_tensors = (
            embedding_tensors.tensors if embeds else folder_tensors.open_tensors
        )
        report = weights.assign(
            model,
            family,
            open_tensors(local),
            partial=partial,
            origin=f"model folder '{folder}'",
        )
        for method in methods:
            method.read(model, str(local))
        for name, other in stored_task.companions_of(model).items():
            other_report = _load_companion(model, name, other, local, partial)
            report = report.joined(other_report, f"{name}/")
        return report


def _load_companion(
    model: keras.Layer,
    name: str,
    companion: keras.Layer,
    folder: pathlib.Path,
    partial: bool,
) -> LoadReport:
    """Loads a model in a folder of its own; without one, it stays as it is.

    Weights that it shares with the task are those of the task.

    Args:
        model: The task, whose own weights are loaded.
        name: Name of the folder.
        companion: The model in it.
        folder: Folder of the task.
        partial: As in `load_weights`.

    Returns:
        The names that did not fit.
    """
    if not (folder / name / CONFIG_FILE).is_file():
        logger.warning(
            "'%s' has no folder `%s`: that model, which is needed to train "
            "and to evaluate, has new weights.",
            folder,
            name,
        )
        return LoadReport([], [], [])
    own = {id(v) for v in weights.root_of(model).weights}
    shared = [v for v in companion.weights if id(v) in own]
    values = [np.array(np.asarray(v.value)) for v in shared]
    report = load_weights(companion, folder / name, partial)
    differ = [
        variable.path
        for variable, value in zip(shared, values, strict=True)
        if not np.array_equal(np.asarray(variable.value), value)
    ]
    if differ:
        logger.warning(
            "'%s' has other weights than the model that shares them; those of "
            "the model count: %s",
            folder / name,
            tensor_files.shortened(differ),
        )
        for variable, value in zip(shared, values, strict=True):
            variable.assign(value)
    return report


def init_from(
    model: keras.Layer, folder: str | os.PathLike[str], partial: bool = False
) -> LoadReport:
    """Loads the weights of a model folder to start training from.

    Unlike `load_weights` it also compares settings that shapes do not show:
    number of heads, activation, epsilon.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        folder: Local or remote folder, or a hub id.
        partial: As in `load_weights`.

    Returns:
        The names that did not fit; empty unless `partial`.

    Raises:
        ValueError: As `load_weights`; or the blocks have other settings.
    """
    with local_folder(folder) as local:
        family, stored = read_config(local)
        config = weights.root_of(model).config
        differences = _block_differences(stored, config)
        if family.name == config.family and differences:
            raise ValueError(
                f"`init_from` '{folder}' must have the blocks of the model. "
                f"Received: {'; '.join(differences)}. Give that folder's "
                f"{CONFIG_FILE} as `model`, or another folder."
            )
        return load_weights(model, local, partial=partial)


def load(
    folder: str | os.PathLike[str],
    kind: str | None = None,
    partial: bool = False,
    revision: str | None = None,
    tokenizer: Tokenizer | None = None,
    **options: Any,
) -> Task:
    """Loads a model folder or a model of the hub as a task with its weights.

    Without `kind`, a folder of tfllm names its task. For other folders the
    published class decides: a head of `tfllm.models.task_models` gives its
    task, a bare encoder an `Embedding`. Other decoders become a `CausalLM`,
    other encoders a `MaskedLM`, with a sentence objective if they have the
    sequence head.

    Args:
        folder: Local or remote folder, or a hub id such as
            `google-bert/bert-base-uncased` or `gpt2`.
        kind: Name of the task to build, one of `tfllm.tasks.TASKS`. Heads
            that it does not use are skipped.
        partial: As in `load_weights`: heads that the folder lacks are
            initialized, to be trained.
        revision: Branch, tag or commit of a hub id; None: the main branch.
        tokenizer: Tokenizer to use instead of that of the folder.
        **options: Arguments of the task, e.g. `dtype="mixed_bfloat16"`.

    Returns:
        The task. Its `tokenizer` is that of the folder, or None.

    Raises:
        ValueError: As `load_weights`; or neither the folder nor `kind` names
            the task; or the tokenizer does not fit the model.
    """
    # Tasks are TensorFlow; the rest of this file is not.
    from tfllm.layers import initial_values
    from tfllm.tasks import create

    with local_folder(folder, revision) as local:
        family, config = read_config(local)
        name, settings = stored_task.read_settings(local, family, config, kind)
        with initial_values.deferred():
            try:
                task = create(name, config, **{**settings, **options})
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"model folder '{folder}' must describe a {name}. {error}"
                ) from error
            task.attach(stored_task.read_methods(local))
            report = load_weights(task, local, partial or kind is not None)
        missing = report.missing + report.misshaped
        if missing and not partial:
            raise ValueError(
                f"`kind` must be a task whose weights '{folder}' has. "
                f"Received: {name!r}, without {tensor_files.shortened(missing)}"
                ". Leave `kind` out, or give `partial=True` to train them."
            )
        if tokenizer is None:
            if any((local / file).is_file() for file in _TOKENIZERS):
                tokenizer = read_tokenizer(local, config, task.fills_masks)
            if not task.embeds:
                tokenizer_lengths.heed(local, task)
        else:
            check_vocabulary(tokenizer, config)
        task.tokenizer = tokenizer
        if task.generates:
            task.text = generation_file.read_text_generation(local, task)
    return task


def stamps(folder: str) -> list[tuple[str, int, int]]:
    """Returns the stamps of all files that decide a model's results.

    Args:
        folder: Local or remote folder; a hub id has no stamps.

    Returns:
        (name, size, time) per file, as `tfllm.file_access.stamps`.
    """
    return file_access.stamps(folder, _DECISIVE)


def read_tokenizer(
    folder: str | os.PathLike[str],
    config: TransformerConfig,
    mask_in_text: bool = False,
) -> Tokenizer:
    """Loads the tokenizer of a local model folder.

    Args:
        folder: Local model folder.
        config: Config of its model; the family adds what the files leave
            out.
        mask_in_text: Whether texts may contain the mask token.

    Raises:
        ValueError: The tokenizer is missing, damaged, or does not fit the
            model.
    """
    from tfllm.tokenizers import load_tokenizer

    spec = FAMILIES[config.family].tokenizer
    tokenizer = load_tokenizer(
        os.fspath(folder), spec=spec, mask_in_text=mask_in_text
    )
    check_vocabulary(tokenizer, config, f"the tokenizer in '{folder}'")
    return tokenizer


def _block_differences(
    stored: TransformerConfig, config: TransformerConfig
) -> list[str]:
    """Describes how the blocks of a stored config and of a model differ."""

    def flat(values: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{path}.{name}")
            elif not _FREE.search(name):
                yield f"{path}.{name}", value

    differences = []
    for ours, theirs in zip(config.stacks, stored.stacks, strict=False):
        first = dict(flat(dataclasses.asdict(theirs.block), "block"))
        second = dict(flat(dataclasses.asdict(ours.block), "block"))
        differences += [
            f"`{name}` {first.get(name)!r} in the folder, {value!r} in the "
            "model"
            for name, value in second.items()
            if first.get(name) != value
        ]
    return differences
