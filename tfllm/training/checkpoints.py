"""The state of a run on disk: kept N, written behind the training."""

import dataclasses
import json
import logging
import os
from typing import Any

import keras
import tensorflow as tf

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Progress:
    """What a run knows besides its variables.

    Attributes:
        step: Optimizer steps done; the data position follows from it.
        best_value: Best value of the metric that selects models, or None.
        best_step: Step of the best value.
        evaluations_without_gain: Evaluations since the best value.
        seconds: Time spent training, over all restarts.
    """

    step: int = 0
    best_value: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    seconds: float = 0.0


class Checkpoints:
    """Saves and restores a task, its optimizer and its progress.

    A `tf.train.Checkpoint` per save in `directory`; writing goes on behind
    the training. A half-written or damaged one is never needed: `restore`
    falls back to the one before.

    Args:
        directory: Folder of the checkpoints, made if missing.
        task: A compiled task.
        keep: Number of newest checkpoints to keep.

    Attributes:
        progress: Progress, saved and restored with the variables.
    """

    def __init__(self, directory: str, task: keras.Model, keep: int) -> None:
        """See the class."""
        self.progress = Progress()
        # A string variable: asynchronous saves skip Python state.
        self._progress_json = tf.Variable("{}", dtype=tf.string)
        self._checkpoint = tf.train.Checkpoint(
            model=_tensorflow_variables(_state_of(task)),
            optimizer=_tensorflow_variables(task.optimizer.variables),
            progress=self._progress_json,
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, directory, max_to_keep=keep
        )
        self._options = tf.train.CheckpointOptions(
            experimental_enable_async_checkpoint=True
        )

    @property
    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, or None."""
        latest = self._manager.latest_checkpoint
        return None if latest is None else int(latest.rsplit("-", 1)[1])

    def save(self) -> None:
        """Saves in the background; waits for the save before, if any."""
        if self.latest_step != self.progress.step:
            text = json.dumps(dataclasses.asdict(self.progress))
            self._progress_json.assign(text)
            self._manager.save(
                checkpoint_number=self.progress.step, options=self._options
            )

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        self._checkpoint.sync()

    def restore(self) -> bool:
        """Restores the newest readable checkpoint.

        Returns:
            False if there is none.

        Raises:
            ValueError: There are checkpoints, and none can be read.
        """
        paths = list(reversed(self._manager.checkpoints))
        for path in paths:
            try:
                status = self._checkpoint.read(path)
                status.assert_existing_objects_matched()
                # The counter of the manager is not ours.
                status.expect_partial()
            except (
                tf.errors.OpError,
                AssertionError,
                ValueError,
                OSError,
            ) as error:
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
            return True
        if paths:
            raise ValueError(
                "no checkpoint in the folder can be read; move the folder "
                "away to start again, or give the settings it was made "
                f"with. Received: {os.path.dirname(paths[0])}"
            )
        return False


def _state_of(task: keras.Model) -> list[keras.Variable]:
    """Returns weights and random states; not the metrics."""
    metrics = {id(v) for metric in task.metrics for v in metric.variables}
    return [v for v in task.variables if id(v) not in metrics]


def _tensorflow_variables(variables: list[Any]) -> dict[str, tf.Variable]:
    """Returns the variables by place and name, for tf.train.Checkpoint."""
    return {
        f"{index:05d}_{variable.path.replace('/', '.')}": variable.value
        for index, variable in enumerate(variables)
    }
