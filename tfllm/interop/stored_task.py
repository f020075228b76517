"""The task of a model folder, as tfllm or another library recorded it."""

from __future__ import annotations

import difflib
import pathlib
from typing import TYPE_CHECKING, Any

from tfllm.interop import embedding_folder, folder_tensors
from tfllm.interop.config_file import CONFIG_FILE, OWN_KEY, read_json
from tfllm.learning import method_options
from tfllm.learning.methods import Method
from tfllm.learning.train_settings import TrainSettings
from tfllm.models import Family, TransformerConfig

if TYPE_CHECKING:
    import keras

    from tfllm.tasks import Task

# Entry of the key `tfllm` for the methods that added weights.
METHODS_KEY = "methods"


def task_settings(task: Task) -> dict[str, Any]:
    """Returns the key `tfllm` of config.json: a task's name and arguments.

    Arguments that have published keys are left out.
    """
    arguments = task.get_config()
    stored_elsewhere = ("name", "dtype", "trainable", "config")
    for key in (*stored_elsewhere, *task.published_arguments):
        arguments.pop(key, None)
    added = [m for m in task.settings.methods if m.covered(task)]
    if added:
        arguments[METHODS_KEY] = method_options.to_record(added)
    return {"task": task.kind, **arguments}


def read_methods(folder: pathlib.Path) -> tuple[Method, ...]:
    """Returns the methods that added weights to the model of a folder.

    Args:
        folder: Local model folder.

    Raises:
        ValueError: config.json names a method that tfllm does not have.
    """
    path = folder / CONFIG_FILE
    settings = read_json(path).get(OWN_KEY) or {}
    try:
        return method_options.from_record(settings.get(METHODS_KEY) or {})
    except (TypeError, ValueError) as error:
        raise ValueError(f"'{path}' is wrong: {error}") from error


def read_settings(
    folder: pathlib.Path,
    family: Family,
    config: TransformerConfig,
    kind: str | None = None,
) -> tuple[str, dict[str, Any]]:
    """Returns the task of a folder, and its arguments besides the config.

    Args:
        folder: Local model folder.
        family: Family of the model.
        config: Config of the model.
        kind: Name of the task to build; None: the one of the folder.

    Raises:
        ValueError: The task is unknown, its settings in config.json are
            wrong, or neither the folder nor `kind` names it.
    """
    from tfllm.tasks import TASKS

    path = folder / CONFIG_FILE
    values = _with_activation(folder, read_json(path))
    settings = dict(values.get(OWN_KEY) or {})
    for key in ("version", METHODS_KEY):
        settings.pop(key, None)
    name = settings.pop("task", None)
    if kind is not None:
        _check_kind(kind, config)
    if kind is not None and kind != name:
        name, settings = kind, _published_settings(kind, folder, family, config)
    elif name is None:
        name = _guess(folder, family, config, values)
        settings = _published_settings(name, folder, family, config)
    if name not in TASKS:
        raise ValueError(
            f"`{OWN_KEY}.task` in '{path}' must be one of {sorted(TASKS)}. "
            f"Received: {name!r}"
        )
    try:
        published = TASKS[name].from_published(values)
    except ValueError as error:
        raise ValueError(f"'{path}' is wrong: {error}") from error
    if kind == "regression" and len(published["labels"]) != 1:
        # They belong to a classifier, or are default names: a number has a
        # label of its own.
        del published["labels"]
    if TASKS[name].embeds and embedding_folder.is_embedding(folder):
        # sentence-transformers may have written these after config.json.
        return name, {**settings, **embedding_folder.read(folder)}
    return name, {**published, **settings}


def _with_activation(
    folder: pathlib.Path, values: dict[str, Any]
) -> dict[str, Any]:
    """Returns config.json with the activation of a cross-encoder.

    sentence-transformers 6 writes it to another file; earlier versions have
    it in config.json, where it is put here.
    """
    path = folder / embedding_folder.MODEL_FILE
    if not path.is_file():
        return values
    name = read_json(path).get("activation_fn")
    if name is None:
        return values
    return {**values, "sentence_transformers": {"activation_fn": name}}


def _check_kind(kind: str, config: TransformerConfig) -> None:
    """Raises ValueError if a model does not fit a kind of task."""
    kinds = _kinds(config)
    if kind not in kinds:
        near = difflib.get_close_matches(str(kind), kinds, n=1, cutoff=0.0)
        raise ValueError(
            f"`kind` must be one of {kinds}, the tasks of such a model. "
            f"Received: {kind!r}. Did you mean {near[0]!r}?"
        )


def _kinds(config: TransformerConfig) -> list[str]:
    """Returns the kinds of tasks that a model fits, sorted."""
    from tfllm.tasks import TASKS

    return sorted(name for name, task in TASKS.items() if task.fits(config))


def _guess(
    folder: pathlib.Path,
    family: Family,
    config: TransformerConfig,
    values: dict[str, Any],
) -> str:
    """Returns the task of a folder that another library wrote.

    Raises:
        ValueError: Nothing in the folder tells the task.
    """
    from tfllm.tasks import TASKS, Embedding, MaskedLM, PermutationLM

    names = {theirs: ours for ours, theirs in family.architectures.items()}
    architecture = names.get((values.get("architectures") or [""])[0])
    for task in TASKS.values():
        writes = task.generates or task.fills_masks
        if architecture in task.heads and not writes:
            return task.published_kind(values)
    head = config.output_head
    # A decoder with a tied table needs no head of its own to predict.
    predicts = config.generates and (
        head is not None
        and (head.tied or _stores("lm_head.", folder, family, config))
    )
    is_bare = architecture == "encoder" and not predicts
    if is_bare or embedding_folder.is_embedding(folder):
        return Embedding.kind
    writers = [kind for kind in _kinds(config) if TASKS[kind].generates]
    if config.generates and writers:
        return writers[0]
    if architecture in MaskedLM.heads or _stores(
        "masked_lm_head.", folder, family, config
    ):
        return MaskedLM.kind
    if architecture in PermutationLM.heads:
        return PermutationLM.kind
    others = [kind for kind in _kinds(config) if not TASKS[kind].embeds]
    raise ValueError(
        f"'{folder}' must say which task it is for: its {CONFIG_FILE} names "
        "no class with a known head, and it holds no head for masked tokens. "
        f"Received: `architectures` {values.get('architectures')!r}. Give "
        f"`kind`: {Embedding.kind!r}, which needs no head, or one of {others}; "
        "with `partial=True` for a fresh head."
    )


def _published_settings(
    name: str, folder: pathlib.Path, family: Family, config: TransformerConfig
) -> dict[str, Any]:
    """Infers arguments of the task from the names of the stored weights."""
    from tfllm.tasks import TASKS

    if "pretraining" in TASKS[name].heads:
        has_head = _stores("sequence_head.", folder, family, config)
        return {"pair_objective": config.pair_objective if has_head else "none"}
    return {}


def _stores(
    part: str, folder: pathlib.Path, family: Family, config: TransformerConfig
) -> bool:
    """Returns whether a folder holds weights of one part of a model."""
    stored = folder_tensors.open_tensors(folder).shapes()
    return any(
        weight.published in stored
        for weight in family.weights(config)
        if weight.path.startswith(part)
    )


def methods_of(model: keras.Layer) -> tuple[Method, ...]:
    """Returns the methods of a task; empty for a bare model."""
    return getattr(model, "settings", TrainSettings()).methods


def companions_of(model: keras.Layer) -> dict[str, keras.Layer]:
    """Returns the models beside a task; empty for a bare model."""
    return getattr(model, "companions", {})
