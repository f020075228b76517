"""Which task a model folder holds, by our own words or by those of others."""

import pathlib
from typing import Any

from tfllm.interop import tensor_files
from tfllm.interop.config_file import CONFIG_FILE, OWN_KEY, read_json
from tfllm.models import Family, TransformerConfig

# Of sentence-transformers: how vectors of tokens become one, and the steps.
POOLING_FILE = "1_Pooling/config.json"
MODULES_FILE = "modules.json"

# Key of `Family.architectures` -> the task that has a class of its own.
_TASK_OF = {
    "token_classification": "tagging",
    "question_answering": "question_answering",
    "multiple_choice": "multiple_choice",
}
_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}


def write_settings(task: Any) -> dict[str, Any]:
    """Returns a task's name, and its arguments that stand nowhere else."""
    arguments = task.get_config()
    elsewhere = ("name", "dtype", "trainable", "config")
    for key in (*elsewhere, *task.published_arguments):
        arguments.pop(key, None)
    return {"task": task.kind, **arguments}


def read_settings(
    folder: pathlib.Path, family: Family, config: TransformerConfig
) -> tuple[str, dict[str, Any]]:
    """Returns the task of a folder, and its arguments besides the config.

    Args:
        folder: Local model folder.
        family: Of the folder.
        config: Of the folder.

    Raises:
        ValueError: tfllm does not have the task, or what config.json says
            of it is wrong.
    """
    from tfllm.tasks import TASKS

    path = folder / CONFIG_FILE
    values = read_json(path)
    settings = dict(values.get(OWN_KEY) or {})
    settings.pop("version", None)
    name = settings.pop("task", None)
    if name is None:
        name, settings = _guess(folder, family, config, values)
    if name not in TASKS:
        raise ValueError(
            f"`{OWN_KEY}.task` in '{path}' must be one of {sorted(TASKS)}. "
            f"Received: {name!r}"
        )
    try:
        published = TASKS[name].from_published(values)
    except ValueError as error:
        raise ValueError(f"'{path}' must be right. {error}") from error
    return name, {**published, **settings}


def _guess(
    folder: pathlib.Path,
    family: Family,
    config: TransformerConfig,
    values: dict[str, Any],
) -> tuple[str, dict[str, Any]]:
    """Returns task and arguments for a folder that others wrote."""
    from tfllm.tasks import Classification

    kinds = {theirs: ours for ours, theirs in family.architectures.items()}
    kind = kinds.get((values.get("architectures") or [""])[0])
    if kind == "sequence_classification":
        problem = Classification.from_published(values)["problem"]
        return ("classification" if problem == "single_label" else problem), {}
    if kind in _TASK_OF:
        return _TASK_OF[kind], {}
    if (folder / POOLING_FILE).is_file():
        return "embedding", _pooling(folder)
    if kind == "encoder" and not config.is_causal:
        return "embedding", {}
    # A decoder predicts with its token table, and so lacks no head.
    if config.is_causal:
        return "causal_lm", {}
    stored = tensor_files.SafetensorsFolder(folder).shapes()
    has_head = any(
        weight.published in stored
        for weight in family.weights(config)
        if weight.path.startswith("sequence_head.")
    )
    return "masked_lm", {"pair_objective": "nsp" if has_head else "none"}


def _pooling(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what sentence-transformers' files say of an embedding.

    Raises:
        ValueError: They pool in a way that tfllm does not have.
    """
    path = folder / POOLING_FILE
    values = read_json(path)
    chosen = [k for k, v in values.items() if k.startswith("pooling_") and v]
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        raise ValueError(
            f"'{path}' must set one of {list(_POOLINGS)}. "
            f"Received: {chosen}, a pooling that tfllm does not have"
        )
    modules = folder / MODULES_FILE
    steps = modules.read_text(encoding="utf-8") if modules.is_file() else ""
    return {
        "pooling": _POOLINGS[chosen[0]],
        "normalize": ".Normalize" in steps,
    }
