"""The trainer: resumes, trains, evaluates, keeps the best model."""

import dataclasses
import difflib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tfllm.data.open_data import Data
from tfllm.learning import optimizers
from tfllm.tasks import Task
from tfllm.tasks.batches import distribute
from tfllm.training.callbacks import (
    Checkpointing,
    Evaluation,
    ProgressBar,
    StepCallback,
)
from tfllm.training.checkpoints import Checkpoints, Progress
from tfllm.training.distribution import Workers
from tfllm.training.stop_signals import StopSignals
from tfllm.training.trainer_config import TrainerConfig

logger = logging.getLogger(__name__)

# Returns the figures on held-out data. It calls its argument before each batch;
# that may raise to stop the evaluation.
Evaluate = Callable[[Callable[[], None]], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Attributes:
        steps: Number of optimizer steps.
        seconds: Training time in seconds, over all restarts.
        train: Last report: means and rates since the report before.
        evaluation: Figures of the last evaluation, after the last step.
        best_step: Step of the best evaluation; 0 without one.
        best_evaluation: Figures of the best evaluation.
        already_finished: Whether the run had ended before.
    """

    steps: int
    seconds: float
    train: dict[str, float]
    evaluation: dict[str, float]
    best_step: int
    best_evaluation: dict[str, float]
    already_finished: bool


class Callbacks(NamedTuple):
    """The callbacks of a run, in the order of their calls.

    The order matters: a checkpoint contains the evaluation at its step.
    """

    progress_bar: ProgressBar
    evaluation: Evaluation | None
    checkpointing: Checkpointing

    def present(self) -> list[StepCallback]:
        """Returns the callbacks that the run has."""
        return [callback for callback in self if callback is not None]


class Terminated(Exception):
    """A signal stopped the run; its state is saved.

    Args:
        number: Number of the signal.
        step: Last step that is saved.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}; "
            "the same command resumes"
        )
        self.number = number


def compile_task(task: Task, config: TrainerConfig) -> None:
    """Compiles a task with the optimizer and the settings of a run."""
    with task.distribute_strategy.scope():
        task.compile(
            optimizers.create(config.optimizer, config.schedule),
            **vars(config.settings),
            jit_compile=config.jit_compile,
        )


def train(
    task: Task,
    config: TrainerConfig,
    data: Data,
    evaluate: Evaluate | None,
    save_best: Callable[[], None],
) -> RunResult:
    """Trains a task, from the newest checkpoint if there is one.

    Args:
        task: Task, compiled by `compile_task`.
        config: TrainerConfig.
        data: Training data.
        evaluate: Returns the figures on held-out data, see `Evaluate`; None
            for no evaluation. They include `best_metric`.
        save_best: Writes the model folder of the best model.

    Returns:
        RunResult. The task has the last weights.

    Raises:
        Terminated: SIGTERM or SIGINT stopped the run; its state is saved.
        FloatingPointError: The loss is not finite.
        OSError: A checkpoint cannot be written.
        WorkerLost: Another worker ended or does not answer.
        ValueError: The workers do not share one `model_dir`.
    """
    workers = Workers(task.distribute_strategy)
    checkpoints = _restore(task, config, workers)
    progress = checkpoints.progress
    if _is_over(config, progress):
        return _result(progress, already_finished=True)
    with StopSignals(workers) as signals:
        callbacks = _callbacks(
            config, checkpoints, evaluate, save_best, workers, signals
        )
        try:
            with workers.noticing_loss():
                if progress.evaluation_pending:
                    _repeat_evaluation(task, callbacks, checkpoints)
                if not progress.evaluation_pending:
                    _fit(task, config, data, progress, callbacks)
        except BaseException:
            # Keras does not call the callbacks after a failure.
            for callback in callbacks.present():
                callback.on_train_end()
            raise
        finally:
            # A second signal could end the process before.
            checkpoints.wait()
    if signals.number and (
        progress.step < config.total_steps or progress.evaluation_pending
    ):
        raise Terminated(signals.number, progress.step)
    return _result(progress, already_finished=False)


def _repeat_evaluation(
    task: Task, callbacks: Callbacks, checkpoints: Checkpoints
) -> None:
    """Repeats an evaluation that was stopped, and saves its figures."""
    assert callbacks.evaluation is not None
    for callback in (callbacks.progress_bar, callbacks.evaluation):
        callback.set_model(task)
    callbacks.evaluation.repeat()
    checkpoints.save()


def _fit(
    task: Task,
    config: TrainerConfig,
    data: Data,
    progress: Progress,
    callbacks: Callbacks,
) -> None:
    """Runs the remaining steps."""
    if _is_over(config, progress):
        return
    task.fit(
        distribute(task.distribute_strategy, data.dataset(progress.step)),
        steps_per_epoch=config.total_steps - progress.step,
        epochs=1,
        verbose=0,
        shuffle=False,
        callbacks=callbacks.present(),
    )


def _restore(
    task: Task, config: TrainerConfig, workers: Workers
) -> Checkpoints:
    """Opens the checkpoints of a run and restores the newest one."""
    folder = os.path.join(config.model_dir, "checkpoints")
    with workers.chief_first():
        checkpoints = Checkpoints(
            folder, task, config.keep_checkpoints, writes=workers.is_chief
        )
        is_restored = checkpoints.restore()
    step = checkpoints.progress.step
    if not workers.agree(step):
        raise ValueError(
            f"all workers must see one `model_dir`, {config.model_dir}: a "
            "folder that they share. Received: workers at different steps, "
            f"this one at {step}"
        )
    if is_restored:
        logger.info("Resuming after step %d.", step)
    return checkpoints


def _result(progress: Progress, already_finished: bool) -> RunResult:
    """Returns the result of a run from its progress."""
    return RunResult(
        progress.step,
        progress.seconds,
        progress.report,
        progress.evaluation,
        progress.best_step,
        progress.best_evaluation,
        already_finished,
    )


def check_metric(name: str, names: Sequence[str]) -> None:
    """Raises ValueError for a `best_metric` that is not measured.

    Args:
        name: Name of the metric; may be empty.
        names: Names of the metrics of an evaluation.
    """
    names = sorted(names)
    if name and name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise ValueError(
            f"`best_metric` must be one of {names}. Received: {name!r}. Did "
            f"you mean {near[0]!r}?"
        )


def _is_over(config: TrainerConfig, progress: Progress) -> bool:
    """Returns whether the run is complete: all steps done, or stopped early."""
    if progress.evaluation_pending:
        return False
    patience = config.early_stopping_patience
    return progress.step >= config.total_steps or bool(
        patience and progress.evaluations_without_gain >= patience
    )


def _callbacks(
    config: TrainerConfig,
    checkpoints: Checkpoints,
    evaluate: Evaluate | None,
    save_best: Callable[[], None],
    workers: Workers,
    signals: StopSignals,
) -> Callbacks:
    """Creates the callbacks of a run."""
    start = checkpoints.progress.step
    log_dir = os.path.join(config.model_dir, "logs")
    if not workers.is_chief:
        log_dir = os.path.join(log_dir, f"worker_{workers.index}")
    bar = ProgressBar(
        start,
        config.total_steps,
        config.log_every,
        config.batch_size,
        checkpoints,
        log_dir,
    )
    evaluation = None
    if evaluate is not None:

        def evaluate_untimed() -> dict[str, float]:
            with bar.excluded():
                return evaluate(signals.check)

        saves_best = config.best_metric and workers.is_chief
        evaluation = Evaluation(
            start,
            config.total_steps,
            config.steps_between(config.eval_every),
            evaluate_untimed,
            config.best_metric or "loss",
            config.early_stopping_patience,
            checkpoints,
            save_best if saves_best else lambda: None,
            log_dir,
        )
    checkpointing = Checkpointing(
        start,
        config.total_steps,
        config.steps_between(config.checkpoint_every),
        checkpoints,
        signals,
    )
    return Callbacks(bar, evaluation, checkpointing)
