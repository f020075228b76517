"""The model folder: the Hugging Face layout, read and written natively.

    config.json  model.safetensors (or shards and their index)  vocab.txt ...

`config.json` is the published one of the family plus our own key `tfllm`,
which says what task it was; other libraries keep unknown keys. Needs no
TensorFlow, except for `load`, which returns a task.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import tfllm
from tfllm import file_access
from tfllm.interop import stored_task, tensor_files, weights
from tfllm.interop.config_file import (
    CONFIG_FILE,
    OWN_KEY,
    check_vocabulary,
    read_config,
    read_json,
    resolve_model,
)
from tfllm.interop.weights import LoadReport
from tfllm.models import FAMILIES, Family, TransformerConfig

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

# What decides the results of a model: its config, weights and tokenizer.
_DECISIVE = (
    CONFIG_FILE,
    "generation_config.json",
    "model*.safetensors",
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
)

MAX_SHARD_BYTES = 5 * 10**9

# Differences in these leave a model what it is.
_FREE = re.compile(r"dropout|initializer_range")


def save(
    model: Any,
    folder: str | os.PathLike[str],
    tokenizer: Any = None,
    extra_config: dict[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Writes a model folder; a file is there whole or not at all.

    config.json comes last, so a folder that has one is complete. Weights are
    float32 under any policy.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        folder: Local or remote; made if missing.
        tokenizer: Writes its own files by `save(folder)`, or None.
        extra_config: More keys for config.json, or None.
        max_shard_bytes: Larger models are written as shards with an index.

    Raises:
        ValueError: The tokenizer's vocabulary does not fit the model.
        OSError: The folder cannot be written, or the disk is full.
    """
    folder = os.fspath(folder)
    root = weights.root_of(model)
    family = FAMILIES[root.config.family]
    if tokenizer is not None:
        check_vocabulary(tokenizer, root.config)
    config = _published_config(model, family, extra_config or {})
    shapes = {
        weight.published: weights.published_shape(weight, variable)
        for weight, variable in weights.weights_of(model, family)
    }
    with _writable(folder), _staging(folder) as local:
        local.mkdir(parents=True, exist_ok=True)
        if tokenizer is not None:
            tokenizer.save(str(local))
        tensor_files.write(
            local,
            shapes,
            weights.published_tensors(model, family),
            max_shard_bytes,
        )
        if getattr(root, "architecture", None) == "causal_lm":
            _write_generation_config(model, root.config, local)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        with file_access.write_atomically(str(local / CONFIG_FILE)) as file:
            file.write(text)


def load_weights(
    model: Any, folder: str | os.PathLike[str], partial: bool = False
) -> LoadReport:
    """Assigns the weights of a model folder to a model.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        folder: Local or remote folder, or a hub id.
        partial: Let heads keep their values where the folder has none of
            this shape, and leave out tensors that the model has no use for.

    Returns:
        What did not fit; empty unless `partial`.

    Raises:
        ValueError: The folder is of another family, damaged, or does not
            fit; nothing is assigned then.
    """
    family = FAMILIES[weights.root_of(model).config.family]
    with local_folder(folder) as local:
        found, _ = read_config(local)
        if found.name != family.name:
            raise ValueError(
                f"model folder '{folder}' must be of the model's family, "
                f"{family.name!r}. Received: family {found.name!r}. Name the "
                "folder of another run, or change `model`."
            )
        return weights.assign(
            model,
            family,
            tensor_files.SafetensorsFolder(local),
            partial=partial,
            origin=f"model folder '{folder}'",
        )


def init_from(
    model: Any, folder: str | os.PathLike[str], partial: bool = False
) -> LoadReport:
    """Loads weights to start training from.

    Unlike `load_weights` it also compares what shapes do not show: heads,
    activation, epsilon.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        folder: Local or remote folder, or a hub id.
        partial: As in `load_weights`.

    Returns:
        What did not fit; empty unless `partial`.

    Raises:
        ValueError: As `load_weights`; or the blocks are of another kind.
    """
    with local_folder(folder) as local:
        found, theirs = read_config(local)
        ours = weights.root_of(model).config
        differences = _differences(theirs, ours)
        if found.name == ours.family and differences:
            raise ValueError(
                f"`init_from` '{folder}' must have the blocks of the model. "
                f"Received: {'; '.join(differences)}. Give that folder's "
                f"{CONFIG_FILE} as `model`, or another folder."
            )
        return load_weights(model, local, partial=partial)


def load(
    folder: str | os.PathLike[str], partial: bool = False, **options: Any
) -> Any:
    """Builds the task that a model folder holds and loads its weights.

    For a folder of other origin the published class says which: a model
    with one of the heads of `tfllm.models.task_models` its task, a bare
    encoder `Embedding`. What else is causal becomes a `CausalLM`, the rest a
    `MaskedLM`, with a sentence objective if it has the sequence head.

    Args:
        folder: Local or remote folder, or a hub id.
        partial: As in `load_weights`.
        **options: For the task, e.g. `dtype="mixed_bfloat16"`.

    Returns:
        The task.

    Raises:
        ValueError: As `load_weights`; or the task is not known.
    """
    # Tasks are TensorFlow; the rest of this file is not.
    from tfllm.tasks import CausalLM, create

    with local_folder(folder) as local:
        family, config = read_config(local)
        name, settings = stored_task.read_settings(local, family, config)
        task = create(name, config, **{**settings, **options})
        load_weights(task, local, partial=partial)
        if isinstance(task, CausalLM):
            task.text = _text_generation(local, config)
    return task


def stamps(folder: str) -> list[tuple[str, int, int]]:
    """Returns what changes with the results of a folder's model.

    Args:
        folder: Local or remote; the files of a hub id are not looked at.

    Returns:
        See `tfllm.file_access.stamps`.
    """
    return file_access.stamps(folder, _DECISIVE)


def _write_generation_config(
    model: Any, config: TransformerConfig, folder: pathlib.Path
) -> None:
    """Writes how a causal model continues texts where a call is silent."""
    from tfllm.generation import GENERATION_CONFIG_FILE, GenerationConfig

    text = getattr(model, "text", None)
    generation = (
        GenerationConfig.from_published(_special_ids(config))
        if text is None
        else text.config
    )
    path = file_access.join(str(folder), GENERATION_CONFIG_FILE)
    with file_access.write_atomically(path) as file:
        file.write(generation.to_json())


def _special_ids(config: TransformerConfig) -> dict[str, int | None]:
    """Returns the ids that generation needs."""
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
    }


def _text_generation(folder: pathlib.Path, config: TransformerConfig) -> Any:
    """Returns how a folder's model continues texts; None without tokenizer."""
    from tfllm.generation import GENERATION_CONFIG_FILE, GenerationConfig
    from tfllm.tasks.text_generation import TextGeneration
    from tfllm.tokenizers import load_tokenizer

    names = ("tokenizer.json", "vocab.json")
    if not any((folder / name).is_file() for name in names):
        return None
    tokenizer = load_tokenizer(str(folder))
    check_vocabulary(tokenizer, config, f"tokenizer in '{folder}'")
    # Older folders have these in config.json.
    values: dict[str, Any] = dict(_special_ids(config))
    file = folder / GENERATION_CONFIG_FILE
    if file.is_file():
        values |= read_json(file)
    try:
        generation = GenerationConfig.from_published(values)
    except ValueError as error:
        raise ValueError(f"'{file}': {error}. Correct the file.") from error
    return TextGeneration(tokenizer, generation)


@contextlib.contextmanager
def local_folder(
    folder: str | os.PathLike[str],
) -> Iterator[pathlib.Path]:
    """Gives a local folder for a local or remote one, or for a hub id.

    Args:
        folder: A folder, or `organisation/name` on the Hugging Face hub if
            there is no folder of this name.

    Yields:
        The folder; a copy of a remote one lives until the block ends.

    Raises:
        ValueError: There is no such folder, here or on the hub.
    """
    name = os.fspath(folder)
    if file_access.is_remote(name):
        with tempfile.TemporaryDirectory() as copy:
            _copy_files(name, copy)
            yield pathlib.Path(copy)
    elif os.path.isdir(name):
        yield pathlib.Path(name)
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        yield pathlib.Path(_download(name))
    else:
        raise ValueError(
            "a model folder must exist, or be a hub id such as "
            f"google-bert/bert-base-uncased. Received: {name!r}"
        )


def _download(hub_id: str) -> str:
    """Returns the local copy of a model on the hub."""
    import huggingface_hub

    try:
        return huggingface_hub.snapshot_download(
            hub_id, allow_patterns=["*.json", "*.safetensors", "*.txt"]
        )
    # Any failure of a network, a proxy or a server ends up here.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            "a model folder must exist, or be a hub id that can be fetched. "
            f"Received: {hub_id!r}, no folder here, and the hub says: "
            f"{reason[0]}"
        ) from error


def _published_config(
    model: Any, family: Family, extra: dict[str, Any]
) -> dict[str, Any]:
    """Returns config.json: the family's, ours, and more keys."""
    root = weights.root_of(model)
    kind = getattr(root, "architecture", "encoder")
    own = {"version": tfllm.__version__}
    labels = {}
    if root is not model and hasattr(model, "objectives"):
        own |= stored_task.write_settings(model)
        labels = model.to_published()
    return {
        **family.to_published(root.config),
        **labels,
        "architectures": [family.architectures[kind]],
        "dtype": "float32",
        OWN_KEY: own,
        **extra,
    }


def _differences(
    theirs: TransformerConfig, ours: TransformerConfig
) -> list[str]:
    """Returns the fields in which blocks of two configs differ."""

    def flat(values: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{path}.{name}")
            elif not _FREE.search(name):
                yield f"{path}.{name}", value

    first = dict(flat(dataclasses.asdict(theirs.block), "block"))
    second = dict(flat(dataclasses.asdict(ours.block), "block"))
    return [
        f"`{name}` {first.get(name)!r} in the folder, {value!r} in the model"
        for name, value in second.items()
        if first.get(name) != value
    ]


@contextlib.contextmanager
def _writable(folder: str) -> Iterator[None]:
    """Makes every failure to write an OSError that names the folder."""
    try:
        yield
    except OSError as error:
        if folder in str(error):
            raise
        raise OSError(f"cannot write '{folder}': {error}") from error
    except Exception as error:
        tf = sys.modules.get("tensorflow")
        if tf is None or not isinstance(error, tf.errors.OpError):
            raise
        raise OSError(f"cannot write '{folder}': {error}") from error


@contextlib.contextmanager
def _staging(folder: str) -> Iterator[pathlib.Path]:
    """Gives the folder itself, or a local one that is copied to a remote."""
    if not file_access.is_remote(folder):
        yield pathlib.Path(folder)
        return
    with tempfile.TemporaryDirectory() as local:
        yield pathlib.Path(local)
        _copy_files(local, folder)


def _copy_files(source: str, target: str) -> None:
    """Copies the files of a folder, config.json last."""
    import tensorflow as tf

    names = [n for n in tf.io.gfile.listdir(source) if not n.endswith("/")]
    file_access.make_folder(target)
    for name in sorted(names, key=lambda n: (n == CONFIG_FILE, n)):
        path = file_access.join(source, name)
        if not tf.io.gfile.isdir(path):
            partial = file_access.join(target, f"{name}.partial")
            tf.io.gfile.copy(path, partial, overwrite=True)
            file_access.rename(partial, file_access.join(target, name))
