"""The starting point of a run: tokenizer, model, weights."""

import contextlib
import logging
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tfllm import file_access, tasks
from tfllm.data.masked.config import DEFAULT_PAIR_OBJECTIVE
from tfllm.interop import model_folder
from tfllm.interop.config_file import (
    CONFIG_FILE,
    check_kind,
    check_vocabulary,
    family_of,
    read_json,
    resolve_model,
)
from tfllm.models import FAMILIES, Family, TransformerConfig
from tfllm.models.config import PairObjective
from tfllm.runs.run_config import RunConfig
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer, load_tokenizer

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "bert:base"


def pair_objective(model: str, init_from: str) -> PairObjective:
    """Returns the default of `--pair_objective`, that of the model's family.

    Args:
        model: As in `--model`; may be empty.
        init_from: As in `--init_from`; may be empty.

    Raises:
        ValueError: `init_from` is no model folder and no hub id.
    """
    if model or not init_from:
        family = family_of(model or DEFAULT_MODEL)
    else:
        family = _family_of_folder(init_from)
    # The run refuses an unknown family later, with a better message.
    return family.config().pair_objective if family else DEFAULT_PAIR_OBJECTIVE


def _family_of_folder(folder: str) -> Family | None:
    """Returns the family of a model folder, local or remote, or a hub id."""
    if not file_access.is_remote(folder):
        with model_folder.local_folder(folder) as local:
            return family_of(str(local))
    # One file: the weights of a remote folder are copied once, later.
    with tempfile.TemporaryDirectory() as copy:
        path = file_access.join(folder, CONFIG_FILE)
        if file_access.exists(path):
            tf.io.gfile.copy(path, os.path.join(copy, CONFIG_FILE))
        return family_of(copy)


@contextlib.contextmanager
def opened(config: RunConfig) -> Iterator["StartingPoint"]:
    """Opens the starting point of a run.

    Args:
        config: RunConfig.

    Raises:
        ValueError: Folder, tokenizer or model do not exist, or do not go
            together.
    """
    if not config.model.init_from:
        yield StartingPoint(config, None)
        return
    with model_folder.local_folder(config.model.init_from) as folder:
        yield StartingPoint(config, str(folder))


class StartingPoint:
    """Tokenizer, model and weights, from flags or from `init_from`.

    Args:
        config: RunConfig.
        folder: Local folder of `init_from`, or None.

    Attributes:
        tokenizer: Tokenizer of `--tokenizer`, or of the folder.
        model: TransformerConfig of `--model`, or of the folder.
    """

    def __init__(self, config: RunConfig, folder: str | None) -> None:
        self.config = config
        self.folder = folder
        family = family_of(config.model.model or folder or DEFAULT_MODEL)
        self.tokenizer: Tokenizer = load_tokenizer(
            config.model.tokenizer or folder or "",
            spec=family.tokenizer if family else None,
            lowercase={"true": True, "false": False}.get(
                config.model.lower_case
            ),
        )
        self.model = _model(config, folder, self.tokenizer)

    def label_order(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns the labels in the order of the folder, if it has the same.

        The head of the folder then fits.

        Args:
            names: Labels of the training data.
        """
        if self.folder is None or not names:
            return tuple(names)
        values = read_json(pathlib.Path(self.folder) / CONFIG_FILE)
        by_number = {
            int(number): str(name)
            for number, name in (values.get("id2label") or {}).items()
        }
        stored = tuple(by_number[number] for number in sorted(by_number))
        return stored if {*stored} == {*names} else tuple(names)

    def create_task(self, labels: Sequence[str] = ()) -> Task:
        """Builds the task, newly initialized or with the weights of the folder.

        Args:
            labels: Names of the labels, if the task has any.
        """
        kind = tasks.TASKS[self.config.task]
        settings = kind.run_arguments(self.config.values)
        if labels:
            settings["labels"] = labels
        task = tasks.create(self.config.task, self.model, **settings)
        if self.folder is not None:
            report = model_folder.init_from(task, self.folder, partial=True)
            logger.info(
                "Initialised from %s: %s", self.config.model.init_from, report
            )
        return task


def _model(
    config: RunConfig, folder: str | None, tokenizer: Tokenizer
) -> TransformerConfig:
    """Returns the model of a run, checked against the other flags."""
    name = config.model.model or folder or DEFAULT_MODEL
    # A size takes the vocabulary of the tokenizer; a config.json has its own.
    overrides = {}
    if not os.path.exists(name):
        family = name.partition(":")[0]
        if family in FAMILIES:
            check_kind(tokenizer, family)
        overrides = {
            "vocab_size": tokenizer.vocab_size,
            **tokenizer.model_ids,
        }
    model = resolve_model(name, **overrides)
    shown = config.model.model or config.model.init_from or name
    _check_kind(config.task, shown, model)
    check_vocabulary(tokenizer, model)
    if config.model.max_positions:
        model = _with_positions(config, model)
    if model.max_length and config.data.seq_length > model.max_length:
        raise ValueError(
            f"`seq_length` must be at most {model.max_length}, the positions "
            f"of `model` {shown}. Received: {config.data.seq_length}"
        )
    unused = (model.max_length or 0) - config.data.seq_length
    generates = tasks.TASKS[config.task].generates
    if unused > 0 and generates and not config.model.init_from:
        logger.warning(
            "The last %d of the model's %d positions do not learn from "
            "`seq_length`=%d: text that is generated there is poor. "
            "--max_positions=%d leaves them out.",
            unused,
            model.max_length,
            config.data.seq_length,
            config.data.seq_length,
        )
    if config.model.dropout is not None:
        model = model.with_dropout(config.model.dropout)
    if config.model.initializer_range is not None:
        model = model.with_initializer_range(config.model.initializer_range)
    return model


def _with_positions(
    config: RunConfig, model: TransformerConfig
) -> TransformerConfig:
    """Returns a model with `--max_positions` positions.

    Raises:
        ValueError: The model has weights for other positions, or does not
            learn positions.
    """
    if config.model.init_from:
        raise ValueError(
            "`max_positions` goes with a fresh model. Received: "
            f"{config.model.max_positions} with "
            f"--init_from={config.model.init_from}"
        )
    if model.max_length is None:
        raise ValueError(
            "`max_positions` goes with a model that learns positions. "
            f"Received: {config.model.max_positions} for one that does not"
        )
    return model.with_max_length(config.model.max_positions)


def _check_kind(task: str, name: str, model: TransformerConfig) -> None:
    """Raises ValueError if a model cannot learn a kind of task."""
    if tasks.TASKS[task].fits(model):
        return
    fitting = [
        repr(kind)
        for kind, other in tasks.TASKS.items()
        if other.fits(model) and not other.is_labelled
    ]
    raise ValueError(
        f"`task` must be {' or '.join(fitting)} for `model` {name}, of family "
        f"{model.family}. Received: {task!r}"
    )
