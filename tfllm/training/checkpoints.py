"""Checkpoints of a run: the last N, written in the background."""

import contextlib
import dataclasses
import json
import logging
import os
import re
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfllm.tasks import Task

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Progress:
    """State of a run besides its variables.

    Attributes:
        step: Number of optimizer steps; the position in the data follows
            from it.
        best_value: Best value of the metric that selects models, or None.
        best_step: Step of the best value.
        evaluations_without_gain: Number of evaluations since the best value.
        seconds: Training time in seconds, over all restarts.
        report: Last means of the training, for the results.
        evaluation: Metrics of the last evaluation.
        best_evaluation: Metrics of the best evaluation.
        evaluation_pending: Whether the evaluation at this step was stopped.
    """

    step: int = 0
    best_value: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    seconds: float = 0.0
    report: dict[str, float] = dataclasses.field(default_factory=dict)
    evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
    best_evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
    evaluation_pending: bool = False


class Checkpoints:
    """Saves and restores a task, its optimizer and its progress.

    Each save is a `tf.train.Checkpoint` in `directory`, written in the
    background. If it is cut off or damaged, `restore` falls back to the one
    before.

    Args:
        directory: Folder of the checkpoints; created if missing.
        task: Compiled task.
        keep: Number of newest checkpoints to keep.
        writes: Whether `save` writes. Of several workers that train together
            one writes, and all restore.

    Attributes:
        progress: Progress, saved and restored with the variables.
    """

    def __init__(
        self,
        directory: str,
        task: Task,
        keep: int,
        writes: bool = True,
    ) -> None:
        self.directory = directory
        self.writes = writes
        self.progress = Progress()
        # Not the manager's newest, which may be damaged.
        self._saved: tuple[int, bool] | None = None
        # A string variable: asynchronous saves skip Python state.
        self._progress_json = tf.Variable("{}", dtype=tf.string)
        self._checkpoint = tf.train.Checkpoint(
            model=_tensorflow_variables(_state_of(task)),
            optimizer=_tensorflow_variables(task.optimizer.variables),
            progress=self._progress_json,
        )
        _remove_damaged_list(directory)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, directory, max_to_keep=keep
        )
        self._options = tf.train.CheckpointOptions(
            experimental_enable_async_checkpoint=True
        )

    def save(self) -> None:
        """Saves in the background, when the save before is complete.

        Raises:
            OSError: The save before failed, or this one cannot begin.
        """
        if not self.writes or self._saved == self._position():
            return
        text = json.dumps(dataclasses.asdict(self.progress))
        self._progress_json.assign(text)
        with self._naming_the_folder():
            self._manager.save(
                checkpoint_number=self.progress.step, options=self._options
            )
        self._saved = self._position()

    def _position(self) -> tuple[int, bool]:
        """Returns what tells two states of a run apart."""
        return self.progress.step, self.progress.evaluation_pending

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
            OSError: The save failed.
        """
        with self._naming_the_folder():
            self._checkpoint.sync()
            # NOTE: sync does not raise errors of the writing thread; the next
            # save or the exit of the program would.
            writer = getattr(self._checkpoint, "_async_checkpointer_impl", None)
            if writer is not None:
                writer._check_async_thread_error()

    @contextlib.contextmanager
    def _naming_the_folder(self) -> Iterator[None]:
        """Turns TensorFlow's write errors into an OSError."""
        try:
            yield
        except tf.errors.OpError as error:
            reason = " ".join(error.message.split())[:300]
            raise OSError(
                f"a checkpoint in {self.directory} cannot be written; those "
                f"before are kept. Received: {reason}"
            ) from error

    def _paths(self) -> list[str]:
        """Returns all checkpoints by step, even if the list is damaged."""
        paths = {
            os.path.join(self.directory, name.removesuffix(".index"))
            for name in tf.io.gfile.listdir(self.directory)
            if re.fullmatch(r"ckpt-[0-9]+\.index", name)
        }
        paths.update(self._manager.checkpoints)
        return sorted(paths, key=lambda path: int(path.rsplit("-", 1)[1]))

    def restore(self) -> bool:
        """Restores the newest readable checkpoint.

        Returns:
            Whether there is one.

        Raises:
            ValueError: There are checkpoints, but none can be read.
        """
        if not tf.io.gfile.isdir(self.directory):
            return False
        paths = list(reversed(self._paths()))
        for path in paths:
            try:
                status = self._checkpoint.read(path)
                status.assert_existing_objects_matched()
                # The counter of the manager is not ours.
                status.expect_partial()
            # TensorFlow raises IndexError and more for damaged files.
            except Exception as error:
                logger.warning(
                    "Checkpoint %s is damaged or does not fit (%s); trying "
                    "the one before.",
                    path,
                    str(error).splitlines()[0][:200],
                )
                continue
            values = json.loads(self._progress_json.numpy())
            for name, value in values.items():
                setattr(self.progress, name, value)
            self._saved = self._position()
            return True
        if paths:
            raise ValueError(
                "no checkpoint in the folder can be read; move the folder "
                "away to start again, or give the settings it was made "
                f"with. Received: {self.directory}"
            )
        return False


def _remove_damaged_list(directory: str) -> None:
    """Deletes TensorFlow's list of checkpoints if it cannot be read.

    The manager would fail on it. The files can be found without the list.
    """
    try:
        tf.train.get_checkpoint_state(directory)
    # UnicodeDecodeError, ValueError and more.
    except Exception:
        path = os.path.join(directory, "checkpoint")
        logger.warning("%s is damaged; looking at the files instead.", path)
        tf.io.gfile.remove(path)


def _state_of(task: Task) -> list[keras.Variable]:
    """Returns weights and random states, without metrics."""
    metrics = {id(v) for metric in task.metrics for v in metric.variables}
    return [v for v in task.variables if id(v) not in metrics]


def _tensorflow_variables(variables: list[Any]) -> dict[str, tf.Variable]:
    """Returns the variables by index, for tf.train.Checkpoint.

    Their names would depend on the objects that Keras created before.
    """
    return {
        f"{index:05d}": variable.value
        for index, variable in enumerate(variables)
    }
