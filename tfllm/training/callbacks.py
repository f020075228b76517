"""Callbacks of a run: progress, logs, evaluation, checkpoints."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm.evaluation.figure_table import main_figures
from tfllm.prediction.kinds import KINDS
from tfllm.training.checkpoints import Checkpoints
from tfllm.training.stop_signals import Interrupted, StopSignals

# Suffixes of metrics to minimize; all others are maximized.
LOWER_IS_BETTER = ("loss", "perplexity", "error", "mse", "mae", "ece")


class StepCallback(keras.callbacks.Callback):
    """Counts optimizer steps over the whole run, not over one call of fit.

    Args:
        start_step: Number of steps before this call of fit.
    """

    def __init__(self, start_step: int = 0) -> None:
        super().__init__()
        self.step = start_step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the step and calls `after_step`."""
        self.step += 1
        self.after_step(logs or {})

    def after_step(self, logs: dict[str, Any]) -> None:
        """Called after each optimizer step; `self.step` counts it."""
        raise NotImplementedError


class ProgressBar(StepCallback):
    """Shows progress, and logs to TensorBoard and `log.jsonl`.

    Every `log_every` steps it reports the means since the last report: losses
    and accuracies, examples and real tokens per second, and the share of time
    that waits for data. Then it resets the means.

    Args:
        start_step: Number of steps before this call of fit.
        total_steps: Number of steps of the whole run.
        log_every: Number of steps between two reports.
        batch_size: Number of examples in a global batch.
        checkpoints: Checkpoints, whose progress gets the last report.
        log_dir: Folder of the TensorBoard events and `log.jsonl`.

    Raises:
        FloatingPointError: The loss is not finite (from the callback).
    """

    def __init__(
        self,
        start_step: int,
        total_steps: int,
        log_every: int,
        batch_size: int,
        checkpoints: Checkpoints,
        log_dir: str,
    ) -> None:
        super().__init__(start_step)
        self.total_steps = total_steps
        self.log_every = log_every
        self.batch_size = batch_size
        self.checkpoints = checkpoints
        self.log_dir = log_dir
        self.bar: Any = None
        self.writer: Any = None
        # An evaluation may be repeated before training begins.
        self._start, self._waited, self._tokens = 0.0, 0.0, 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Opens the bar and the writers."""
        self.bar = tqdm(
            total=self.total_steps,
            initial=self.step,
            unit="step",
            dynamic_ncols=True,
            file=sys.stderr,
            # A log file gets one line per report, not a line per step.
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
        )
        tf.io.gfile.makedirs(self.log_dir)
        truncate_log(self.log_dir, self.step)
        self.writer = tf.summary.create_file_writer(self.log_dir)
        self._restart()

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the bar and the writers, if they are open."""
        for opened in (self.bar, self.writer):
            if opened is not None:
                opened.close()

    def after_step(self, logs: dict[str, Any]) -> None:
        """Reports every `log_every` steps and after the last."""
        self.bar.update()
        if self.step % self.log_every and self.step != self.total_steps:
            return
        values = {name: float(value) for name, value in logs.items()}
        check_finite("the loss", values["loss"], self.step)
        self._report(values)
        self.model.reset_metrics()
        self._restart()

    @contextlib.contextmanager
    def excluded(self) -> Iterator[None]:
        """Excludes the time and the input of a block from the rates."""
        start = time.perf_counter()
        waited, tokens = self.model.input_wait_seconds, self.model.tokens_seen
        yield
        self._start += time.perf_counter() - start
        self._waited += self.model.input_wait_seconds - waited
        self._tokens += self.model.tokens_seen - tokens

    def _restart(self) -> None:
        """Starts a new window of measurement."""
        self._start = time.perf_counter()
        self._first = self.step
        self._waited = self.model.input_wait_seconds
        self._tokens = self.model.tokens_seen

    def _report(self, values: dict[str, float]) -> None:
        """Writes one report to the bar, TensorBoard and log.jsonl."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        rate = (self.step - self._first) * self.batch_size / seconds
        waited = self.model.input_wait_seconds - self._waited
        values |= {
            "learning_rate": float(self.model.optimizer.learning_rate),
            "examples_per_second": rate,
            "tokens_per_second": (self.model.tokens_seen - self._tokens)
            / seconds,
            "data_wait_share": min(waited / seconds, 1.0),
        }
        self.checkpoints.progress.report = values
        shown = {
            name: f"{value:.4g}"
            for name, value in values.items()
            if name == "loss" or name.endswith("accuracy")
        }
        shown["ex/s"] = f"{rate:.0f}"
        shown["tok/s"] = f"{values['tokens_per_second']:.0f}"
        shown["wait"] = f"{values['data_wait_share']:.0%}"
        self.bar.set_postfix(shown)
        with self.writer.as_default(step=self.step):
            for name, value in values.items():
                tf.summary.scalar(f"train/{name}", value)
        self.writer.flush()
        write_log(self.log_dir, {"step": self.step, **values})


class Evaluation(StepCallback):
    """Evaluates on held-out data, keeps the best model, stops early.

    Args:
        start_step: Number of steps before this call of fit.
        total_steps: Number of steps of the whole run; an evaluation follows
            the last one.
        every: Number of steps between two evaluations.
        evaluate: Returns the metrics on the held-out data. It may raise
            Interrupted; the resumed run then calls it again.
        best_metric: Metric that selects models.
        patience: Number of evaluations without a better value before the run
            stops; 0 for never.
        checkpoints: Checkpoints, whose progress holds the best value.
        save_best: Called when the value is the best so far.
        log_dir: Folder of the TensorBoard events and `log.jsonl`.

    Raises:
        ValueError: The evaluation gives no `best_metric` (from the callback).
    """

    def __init__(
        self,
        start_step: int,
        total_steps: int,
        every: int,
        evaluate: Callable[[], dict[str, float]],
        best_metric: str,
        patience: int,
        checkpoints: Checkpoints,
        save_best: Callable[[], None],
        log_dir: str,
    ) -> None:
        super().__init__(start_step)
        self.total_steps = total_steps
        self.every = every
        self.evaluate = evaluate
        self.best_metric = best_metric
        self.patience = patience
        self.checkpoints = checkpoints
        self.save_best = save_best
        self.log_dir = log_dir

    def after_step(self, logs: dict[str, Any]) -> None:
        """Evaluates every `every` steps and after the last."""
        if self.step % self.every == 0 or self.step == self.total_steps:
            self._evaluate()

    def repeat(self) -> None:
        """Repeats, before the first step, an evaluation that was stopped."""
        progress = self.checkpoints.progress
        start = time.perf_counter()
        truncate_log(self.log_dir, self.step, evaluated=False)
        self._evaluate()
        progress.seconds += time.perf_counter() - start

    def _evaluate(self) -> None:
        """Evaluates and records the figures, or that it was stopped."""
        try:
            figures = self.evaluate()
        except Interrupted:
            self.checkpoints.progress.evaluation_pending = True
            return
        main = KINDS[self.model.kind].main
        shown = main_figures(main, figures, self.best_metric)
        text = "  ".join(f"{name} {figures[name]:.4f}" for name in shown)
        tqdm.write(f"step {self.step}: held-out {text}", file=sys.stderr)
        self.checkpoints.progress.evaluation = figures
        self.checkpoints.progress.evaluation_pending = False
        writer = tf.summary.create_file_writer(self.log_dir)
        with writer.as_default(step=self.step):
            for name, value in figures.items():
                tf.summary.scalar(f"eval/{name}", value)
        writer.close()
        write_log(
            self.log_dir,
            {
                "step": self.step,
                **{f"eval_{name}": value for name, value in figures.items()},
            },
        )
        self._select(figures)

    def _select(self, figures: dict[str, float]) -> None:
        """Updates the best value; stops when patience is used up."""
        if self.best_metric not in figures:
            raise ValueError(
                f"`best_metric` must be one of {sorted(figures)}, which the "
                f"evaluation at step {self.step} gave. Received: "
                f"{self.best_metric!r}"
            )
        progress = self.checkpoints.progress
        value = figures[self.best_metric]
        if is_better(self.best_metric, value, progress.best_value):
            progress.best_value = value
            progress.best_step = self.step
            progress.best_evaluation = figures
            progress.evaluations_without_gain = 0
            self.save_best()
            return
        progress.evaluations_without_gain += 1
        if self.patience and progress.evaluations_without_gain >= self.patience:
            tqdm.write(
                f"Stopping at step {self.step}: {self.best_metric} has not "
                f"improved on {progress.best_value:.4f} (step "
                f"{progress.best_step}) in {self.patience} evaluations.",
                file=sys.stderr,
            )
            self.model.stop_training = True


class Checkpointing(StepCallback):
    """Saves checkpoints; at a signal saves the last one and stops.

    Args:
        start_step: Number of steps before this call of fit.
        total_steps: Number of steps of the whole run; a checkpoint follows
            the last one.
        every: Number of steps between two checkpoints.
        checkpoints: Checkpoints of the run.
        signals: Signals that end the run after the current step.

    Raises:
        FloatingPointError: A weight or the loss is not finite; nothing is
            saved then (from the callback).
    """

    def __init__(
        self,
        start_step: int,
        total_steps: int,
        every: int,
        checkpoints: Checkpoints,
        signals: StopSignals,
    ) -> None:
        super().__init__(start_step)
        self.total_steps = total_steps
        self.every = every
        self.checkpoints = checkpoints
        self.signals = signals

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()
        self._seconds = self.checkpoints.progress.seconds

    def after_step(self, logs: dict[str, Any]) -> None:
        """Saves every `every` steps, at the last, and when stopped."""
        progress = self.checkpoints.progress
        progress.step = self.step
        progress.seconds = self._seconds + time.perf_counter() - self._start
        if self.signals.asked():
            self.model.stop_training = True
        if (
            self.step % self.every == 0
            or self.step == self.total_steps
            or self.model.stop_training
        ):
            # A broken state must not replace a good one.
            check_finite("the loss", float(logs.get("loss", 0.0)), self.step)
            for variable in self.model.trainable_variables:
                total = float(tf.reduce_sum(0.0 * variable.value))
                check_finite(f"a weight ({variable.path})", total, self.step)
            self.checkpoints.save()


def check_finite(what: str, value: float, step: int) -> None:
    """Raises FloatingPointError if `value` is infinite or NaN."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"{what} is not finite at step {step}; try a lower "
            "`learning_rate` or another `precision`. Received: "
            f"{value}. The last checkpoint is kept"
        )


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Returns whether a value of a metric is better than the best so far."""
    if best is None:
        return not np.isnan(value)
    lower = metric.endswith(LOWER_IS_BETTER)
    return value < best if lower else value > best


def truncate_log(log_dir: str, step: int, evaluated: bool = True) -> None:
    """Drops the lines of `log.jsonl` that a resumed run will write again.

    Args:
        log_dir: Folder of `log.jsonl`.
        step: Last step to keep.
        evaluated: Whether to keep the evaluation of that step.
    """
    path = os.path.join(log_dir, "log.jsonl")
    if not tf.io.gfile.exists(path):
        return
    kept = []
    with tf.io.gfile.GFile(path) as file:
        for line in file:
            # After a kill the last line may be cut off.
            if not line.endswith("\n"):
                continue
            values = json.loads(line)
            repeated = not evaluated and values["step"] == step
            if values["step"] <= step and not (
                repeated and any(name.startswith("eval_") for name in values)
            ):
                kept.append(line)
    with tf.io.gfile.GFile(f"{path}.tmp", "w") as file:
        file.write("".join(kept))
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)


def write_log(log_dir: str, values: dict[str, Any]) -> None:
    """Appends one JSON line to `log.jsonl`."""
    path = os.path.join(log_dir, "log.jsonl")
    with tf.io.gfile.GFile(path, "a") as file:
        file.write(json.dumps(values) + "\n")
