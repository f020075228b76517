"""Settings by name, as in flags and run records, to LabelledDataConfig."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.kinds import LABELLED_KINDS
from tfllm.data.tables.config import TableConfig

_TABLE = tuple(field.name for field in dataclasses.fields(TableConfig))


class TrainedTask(Protocol):
    """A task as far as its data are concerned."""

    kind: str
    labels: tuple[str, ...]
    with_predicates: bool

    @property
    def prompt(self) -> str:
        """Text to put before every text."""

    def row_length(self, asked: int | None = None) -> int:
        """Returns `asked`, or the longest row of the task."""


def data_config(values: Mapping[str, Any]) -> LabelledDataConfig:
    """Returns the config for settings by name.

    Args:
        values: Fields of LabelledDataConfig and TableConfig by name. Other
            names are ignored; missing ones have defaults.

    Raises:
        ValueError: The settings contradict each other.
    """
    names = [field.name for field in dataclasses.fields(LabelledDataConfig)]
    settings = {name: values[name] for name in names if name in values}
    table = {name: values[name] for name in _TABLE if name in values}
    if settings.get("stride") == 0:
        settings["stride"] = None
    for name in ("labels", "choice_columns"):
        if isinstance(settings.get(name), str):
            settings[name] = _split_names(settings[name])
        elif name in settings:
            settings[name] = tuple(settings[name])
    return LabelledDataConfig(**{**settings, "table": TableConfig(**table)})


def task_config(
    task: TrainedTask, values: Mapping[str, Any]
) -> LabelledDataConfig:
    """Returns the config to evaluate or predict with a trained task.

    Evaluation, prediction, pipelines and exports use the same rows.

    Args:
        task: A task of a kind in LABELLED_KINDS.
        values: Settings of its run, with those of a call in their place; see
            `data_config`.

    Raises:
        ValueError: The settings contradict each other or the task.
    """
    config = data_config(
        {
            **values,
            "task": task.kind,
            "labels": task.labels,
            "prompt": task.prompt,
            "seq_length": task.row_length(values.get("seq_length")),
        }
    )
    _check_predicates(task, config.predicate_column)
    return evaluation_config(config)


def check_label_column(task: str, column: str) -> None:
    """Raises ValueError if a task needs a label column and has none.

    Args:
        task: One of LABELLED_KINDS.
        column: The label column, or "".
    """
    if LABELLED_KINDS[task].needs_label and not column:
        raise ValueError(
            f"`label_column` is needed for the task {task}. Received: nothing"
        )


def check_pair_column(task: str, column: str) -> None:
    """Raises ValueError if a task needs pairs of texts and has none.

    Training and evaluation of such a task need pairs; only prediction takes
    single texts.

    Args:
        task: One of LABELLED_KINDS.
        column: The column of the second text, or "".
    """
    if LABELLED_KINDS[task].needs_pair and not column:
        raise ValueError(
            f"`text_pair_column` is needed for the task {task}: it learns "
            "from pairs of texts, and is measured by them. Received: nothing. "
            "Add --text_pair_column=..."
        )


def _check_predicates(task: TrainedTask, column: str) -> None:
    """Raises ValueError if rows have predicates and training had none."""
    needed = task.with_predicates
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
    """Returns the config for held-out files.

    Labels have equal weights, and long texts that training cuts are read in
    windows.

    Args:
        config: Config of training.
    """
    stride = config.stride or config.kind.evaluation_stride(config.seq_length)
    return dataclasses.replace(
        config, class_weights="", class_balanced=False, stride=stride
    )


def _split_names(text: str) -> tuple[str, ...]:
    """Returns comma-separated names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
