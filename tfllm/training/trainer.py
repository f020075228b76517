"""One run: resume, train, evaluate, keep the best."""

import dataclasses
import difflib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfllm.data.open_data import Data
from tfllm.tasks.adversarial import Adversarial
from tfllm.tasks.batches import distribute
from tfllm.training import optimizers
from tfllm.training.callbacks import Checkpointing, Evaluation, ProgressBar
from tfllm.training.checkpoints import Checkpoints, Progress
from tfllm.training.distribution import Workers
from tfllm.training.schedules import ScheduleConfig, steps_of
from tfllm.training.stop_signals import StopSignals

logger = logging.getLogger(__name__)

# Returns the metrics on held-out data. Before each batch it calls what it is
# given, which raises to break it off.
Evaluate = Callable[[Callable[[], None]], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class TrainerConfig:
    """Settings of a run.

    Attributes:
        model_dir: Folder of the run.
        batch_size: Examples of a global batch.
        schedule: Learning rate; its `total_steps` are those of the run.
        optimizer: OptimizerConfig.
        accumulation_steps: Micro-batches per batch and replica.
        l1: Factor of the L1 penalty.
        l2: Factor of the L2 penalty.
        r_drop: Factor of the divergence of two passes.
        adversarial: How to shift the token embeddings, or None.
        layer_decay: Factor of the rate from a layer to the one below.
        freeze: Parts of the model that do not learn.
        jit_compile: Compile the steps with XLA.
        log_every: Steps between two reports.
        eval_every: Steps between two evaluations, or below 1 the fraction
            of the steps of the run.
        checkpoint_every: Steps between two checkpoints, or the fraction.
        keep_checkpoints: Newest checkpoints to keep.
        best_metric: Metric that selects the model to keep; empty for the
            last one.
        early_stopping_patience: Evaluations without gain before stopping;
            0 for never.
    """

    model_dir: str
    batch_size: int
    schedule: ScheduleConfig
    optimizer: optimizers.OptimizerConfig
    accumulation_steps: int = 1
    l1: float = 0.0
    l2: float = 0.0
    r_drop: float = 0.0
    adversarial: Adversarial | None = None
    layer_decay: float = 1.0
    freeze: str = ""
    jit_compile: bool = False
    log_every: int = 20
    eval_every: float = 500
    checkpoint_every: float = 500
    keep_checkpoints: int = 2
    best_metric: str = ""
    early_stopping_patience: int = 0

    def __post_init__(self) -> None:
        """Validates the fields."""
        for name in ("log_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. "
                    f"Received: {getattr(self, name)}"
                )
        for name in ("eval_every", "checkpoint_every"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"`{name}` must be positive: steps, or below 1 their "
                    f"fraction. Received: {getattr(self, name)}"
                )

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.schedule.total_steps

    def steps_between(self, every: float) -> int:
        """Returns the steps that `eval_every` or `checkpoint_every` says."""
        return max(steps_of(every, self.total_steps), 1)


@dataclasses.dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        steps: Optimizer steps done.
        seconds: Time in training, over all restarts.
        train: The last report: means and rates since the one before.
        evaluation: Metrics of the last evaluation, after the last step.
        best_step: Step of the best evaluation, 0 without one.
        best_evaluation: Its metrics.
        already_finished: Nothing was left to do.
    """

    steps: int
    seconds: float
    train: dict[str, float]
    evaluation: dict[str, float]
    best_step: int
    best_evaluation: dict[str, float]
    already_finished: bool


class Terminated(Exception):
    """A signal ended the run; its state is saved.

    Args:
        number: The signal.
        step: Steps that are saved.
    """

    def __init__(self, number: int, step: int) -> None:
        """See the class."""
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}; "
            "the same command resumes"
        )
        self.number = number


def compile_task(task: keras.Model, config: TrainerConfig) -> None:
    """Gives the task its optimizer."""
    with task.distribute_strategy.scope():
        task.compile(
            optimizers.create(config.optimizer, config.schedule),
            accumulation_steps=config.accumulation_steps,
            l1=config.l1,
            l2=config.l2,
            r_drop=config.r_drop,
            adversarial=config.adversarial,
            layer_decay=config.layer_decay,
            freeze=config.freeze,
            jit_compile=config.jit_compile,
        )


def train(
    task: keras.Model,
    config: TrainerConfig,
    data: Data,
    evaluate: Evaluate | None,
    save_best: Callable[[], None],
) -> RunResult:
    """Trains a task, from the newest checkpoint if there is one.

    Args:
        task: Compiled by `compile_task`.
        config: TrainerConfig.
        data: Batches by step.
        evaluate: Returns the metrics on held-out data, see `Evaluate`; None
            for no evaluation. `best_metric` is one of them.
        save_best: Writes the model folder of the best model.

    Returns:
        RunResult. The task has the last weights.

    Raises:
        Terminated: SIGTERM or SIGINT came; the state is on disk.
        FloatingPointError: The loss is not finite.
        OSError: A checkpoint could not be written.
        ConnectionError: Another worker is gone.
        ValueError: The workers do not see one `model_dir`.
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
            # Keras does not tell the callbacks of a failure.
            for callback in callbacks:
                callback.on_train_end()
            raise
        finally:
            # Before a second signal can end the process.
            checkpoints.wait()
    if signals.number and (
        progress.step < config.total_steps or progress.evaluation_pending
    ):
        raise Terminated(signals.number, progress.step)
    return _result(progress, already_finished=False)


def _repeat_evaluation(
    task: keras.Model, callbacks: list[Any], checkpoints: Checkpoints
) -> None:
    """Does the evaluation that a stop broke off, and saves what it found."""
    bar, evaluation, _ = callbacks
    for callback in (bar, evaluation):
        callback.set_model(task)
    evaluation.repeat()
    checkpoints.save()


def _fit(
    task: keras.Model,
    config: TrainerConfig,
    data: Data,
    progress: Progress,
    callbacks: list[Any],
) -> None:
    """Does the steps that are left."""
    if _is_over(config, progress):
        return
    task.fit(
        distribute(task.distribute_strategy, data.dataset(progress.step)),
        steps_per_epoch=config.total_steps - progress.step,
        epochs=1,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
    )


def _restore(
    task: keras.Model, config: TrainerConfig, workers: Workers
) -> Checkpoints:
    """Returns the checkpoints of a run, the newest of them restored."""
    folder = os.path.join(config.model_dir, "checkpoints")
    with workers.chief_first():
        checkpoints = Checkpoints(
            folder, task, config.keep_checkpoints, writes=workers.is_chief
        )
        found = checkpoints.restore()
    step = checkpoints.progress.step
    if not workers.agree(step):
        raise ValueError(
            f"all workers must see one `model_dir`, {config.model_dir}: a "
            "folder that they share. Received: workers at different steps, "
            f"this one at {step}"
        )
    if found:
        logger.info("Resuming after step %d.", step)
    return checkpoints


def _result(progress: Progress, already_finished: bool) -> RunResult:
    """Returns how a run ended, from what its checkpoint holds."""
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
    """Raises ValueError unless a metric is empty or one that is measured."""
    names = sorted(names)
    if name and name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise ValueError(
            f"`best_metric` must be one of {names}. Received: {name!r}. Did "
            f"you mean {near[0]!r}?"
        )


def _is_over(config: TrainerConfig, progress: Progress) -> bool:
    """Returns whether nothing is left to do: all steps, or patience ended."""
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
) -> list[Any]:
    """Returns ProgressBar, Evaluation (where there is one), Checkpointing.

    In this order: a checkpoint holds what the evaluation at its step found.
    """
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
    callbacks: list[Any] = [bar]
    if evaluate is not None:

        def evaluate_aside() -> dict[str, float]:
            with bar.excluded():
                return evaluate(signals.check)

        callbacks.append(
            Evaluation(
                start,
                config.total_steps,
                config.steps_between(config.eval_every),
                evaluate_aside,
                config.best_metric or "loss",
                config.early_stopping_patience,
                checkpoints,
                save_best
                if config.best_metric and workers.is_chief
                else lambda: None,
                log_dir,
            )
        )
    callbacks.append(
        Checkpointing(
            start,
            config.total_steps,
            config.steps_between(config.checkpoint_every),
            checkpoints,
            signals,
        )
    )
    return callbacks
