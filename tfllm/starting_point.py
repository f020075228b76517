"""What a run starts from: its tokenizer, its model, its weights."""

import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence

from tfllm import tasks
from tfllm.interop import model_folder
from tfllm.interop.config_file import (
    CONFIG_FILE,
    check_kind,
    check_vocabulary,
    read_json,
    resolve_model,
)
from tfllm.models import FAMILIES, TransformerConfig
from tfllm.run_config import RunConfig
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer, load_tokenizer

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "bert:base"


@contextlib.contextmanager
def opened(config: RunConfig) -> Iterator["StartingPoint"]:
    """Gives the starting point of a run.

    Args:
        config: RunConfig.

    Raises:
        ValueError: There is no such folder, tokenizer or model, or they do
            not go together.
    """
    if not config.init_from:
        yield StartingPoint(config, None)
        return
    with model_folder.local_folder(config.init_from) as folder:
        yield StartingPoint(config, str(folder))


class StartingPoint:
    """Tokenizer, model and weights, from flags or from `init_from`.

    Args:
        config: RunConfig.
        folder: Local folder of `init_from`, or None.

    Attributes:
        tokenizer: That of `tokenizer`, else of the folder.
        model: TransformerConfig of `model`, else of the folder.
    """

    def __init__(self, config: RunConfig, folder: str | None) -> None:
        """See the class."""
        self.config = config
        self.folder = folder
        self.tokenizer: Tokenizer = load_tokenizer(
            config.tokenizer or folder or ""
        )
        self.model = _model(config, folder, self.tokenizer)

    def label_order(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns label names as the folder orders them, if it has them all.

        The head of a folder that was trained for them then fits.

        Args:
            names: Those of the training data.
        """
        if self.folder is None or not names:
            return tuple(names)
        values = read_json(pathlib.Path(self.folder) / CONFIG_FILE)
        by_number = {
            int(number): str(name)
            for number, name in (values.get("id2label") or {}).items()
        }
        theirs = tuple(by_number[number] for number in sorted(by_number))
        return theirs if {*theirs} == {*names} else tuple(names)

    def create_task(self, labels: Sequence[str] = ()) -> Task:
        """Returns the task, fresh or with the weights of the folder.

        Args:
            labels: Names of the labels, for a task that has them.
        """
        settings = dict(self.config.task_settings)
        if labels:
            settings["labels"] = labels
        task = tasks.create(self.config.task, self.model, **settings)
        if self.folder is not None:
            report = model_folder.init_from(task, self.folder, partial=True)
            logger.info(
                "Initialised from %s: %s", self.config.init_from, report
            )
        return task


def _model(
    config: RunConfig, folder: str | None, tokenizer: Tokenizer
) -> TransformerConfig:
    """Returns the model of a run, checked against the other flags."""
    name = config.model or folder or DEFAULT_MODEL
    # A size takes the vocabulary it is given; a config.json says its own.
    own = {}
    if not os.path.exists(name):
        family = name.partition(":")[0]
        if family in FAMILIES:
            check_kind(tokenizer, family)
        own = {"vocab_size": tokenizer.vocab_size, **tokenizer.model_ids}
    model = resolve_model(name, **own)
    shown = config.model or config.init_from or name
    _check_kind(config.task, shown, model)
    check_vocabulary(tokenizer, model)
    if config.max_positions:
        model = _with_positions(config, model)
    if model.max_length and config.seq_length > model.max_length:
        raise ValueError(
            f"`seq_length` must be at most {model.max_length}, the positions "
            f"of `model` {shown}. Received: {config.seq_length}"
        )
    unused = (model.max_length or 0) - config.seq_length
    if unused > 0 and config.task == "causal_lm" and not config.init_from:
        logger.warning(
            "The last %d of the model's %d positions do not learn from "
            "`seq_length`=%d: text that is generated there is poor. "
            "--max_positions=%d leaves them out.",
            unused,
            model.max_length,
            config.seq_length,
            config.seq_length,
        )
    if config.dropout is not None:
        model = model.with_dropout(config.dropout)
    if config.initializer_range is not None:
        model = model.with_initializer_range(config.initializer_range)
    return model


def _with_positions(
    config: RunConfig, model: TransformerConfig
) -> TransformerConfig:
    """Returns a model with --max_positions.

    Raises:
        ValueError: It has weights for other positions, or learns none.
    """
    if config.init_from:
        raise ValueError(
            "`max_positions` goes with a fresh model. Received: "
            f"{config.max_positions} with --init_from={config.init_from}"
        )
    if model.max_length is None:
        raise ValueError(
            "`max_positions` goes with a model that learns positions. "
            f"Received: {config.max_positions} for one that does not"
        )
    return model.with_max_length(config.max_positions)


def _check_kind(task: str, name: str, model: TransformerConfig) -> None:
    """Raises ValueError if a model cannot be pretrained for a task."""
    fitting = "causal_lm" if model.is_causal else "masked_lm"
    if task in ("causal_lm", "masked_lm") and task != fitting:
        raise ValueError(
            f"`task` must be {fitting!r} for `model` {name}, of family "
            f"{model.family}. Received: {task!r}"
        )
