"""Settings by name, as flags and records of runs have them, to configs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfllm.data.labelled.config import QUESTION_STRIDE, LabelledDataConfig
from tfllm.data.tables.config import TableConfig

_TABLE = tuple(field.name for field in dataclasses.fields(TableConfig))


def data_config(values: Mapping[str, Any]) -> LabelledDataConfig:
    """Returns how labelled files become batches.

    Args:
        values: By the names of the fields of LabelledDataConfig and
            TableConfig; others are passed over, missing ones have defaults.

    Raises:
        ValueError: They do not go together.
    """
    own = [field.name for field in dataclasses.fields(LabelledDataConfig)]
    settings = {name: values[name] for name in own if name in values}
    table = {name: values[name] for name in _TABLE if name in values}
    if settings.get("stride") == 0:
        settings["stride"] = None
    for name in ("labels", "choice_columns"):
        if isinstance(settings.get(name), str):
            settings[name] = _names(settings[name])
        elif name in settings:
            settings[name] = tuple(settings[name])
    return LabelledDataConfig(**{**settings, "table": TableConfig(**table)})


def task_config(task: Any, values: Mapping[str, Any]) -> LabelledDataConfig:
    """Returns how files become batches for a task that was trained.

    Evaluation, prediction, pipelines and exports read the same rows.

    Args:
        task: Of a kind in LABELLED_TASKS.
        values: See `data_config`: the settings of its run, if there is one,
            and those that take their place.

    Raises:
        ValueError: They do not go together, or do not fit the task.
    """
    config = data_config(
        {
            **values,
            "task": task.kind,
            "labels": getattr(task, "labels", ()),
            "seq_length": task.row_length(values.get("seq_length")),
        }
    )
    _check_predicates(task, config.predicate_column)
    return evaluation_config(config)


def check_label_column(task: str, column: str) -> None:
    """Raises ValueError if a task has nothing to learn from, or to be right by.

    Args:
        task: One of LABELLED_TASKS; embedding also learns from pairs alone.
        column: Where the label stands.
    """
    if task != "embedding" and not column:
        raise ValueError(
            f"`label_column` is needed for the task {task}. Received: nothing"
        )


def check_pair_column(task: str, column: str) -> None:
    """Raises ValueError if texts to embed have none that belongs to them.

    Args:
        task: One of LABELLED_TASKS; embedding learns from pairs, and is
            measured by them. Only prediction takes single texts.
        column: Where the second text stands.
    """
    if task == "embedding" and not column:
        raise ValueError(
            "`text_pair_column` is needed for the task embedding: it learns "
            "from pairs of texts, and is measured by them. Received: nothing. "
            "Add --text_pair_column=..."
        )


def _check_predicates(task: Any, column: str) -> None:
    """Raises ValueError for rows that training had otherwise."""
    needed = getattr(task, "with_predicates", False)
    if needed and not column:
        raise ValueError(
            "`predicate_column` is needed for a model that was trained with "
            "predicates. Received: nothing"
        )
    if column and not needed:
        raise ValueError(
            "`predicate_column` goes with a model that was trained with "
            f"predicates. Received: {column!r}. Leave it out."
        )


def evaluation_config(config: LabelledDataConfig) -> LabelledDataConfig:
    """Returns how held-out files become batches: plainly, and whole.

    No label weighs more than another, and windows are laid over texts that
    training cuts.

    Args:
        config: That of training.
    """
    stride = config.stride
    if config.task == "question_answering":
        stride = stride or QUESTION_STRIDE
    # Texts that go together are cut.
    elif config.task not in ("embedding", "multiple_choice"):
        stride = stride or max(1, config.seq_length // 2)
    return dataclasses.replace(
        config, class_weights="", class_balanced=False, stride=stride
    )


def _names(text: str) -> tuple[str, ...]:
    """Returns names that commas separate."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
