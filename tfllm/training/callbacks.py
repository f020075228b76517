"""What happens around the steps of a run."""

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

from tfllm.training.checkpoints import Checkpoints
from tfllm.training.stop_signals import Interrupted, StopSignals

# Ends of the names of metrics; of all others more is better.
LOWER_IS_BETTER = ("loss", "perplexity", "error", "mse", "mae", "ece")


class StepCallback(keras.callbacks.Callback):
    """Counts optimizer steps over the whole run, not one call of fit.

    Args:
        start_step: Steps done before this call of fit.
    """

    def __init__(self, start_step: int = 0) -> None:
        """See the class."""
        super().__init__()
        self.step = start_step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Calls `after_step` with plain floats where wanted."""
        self.step += 1
        self.after_step(logs or {})

    def after_step(self, logs: dict[str, Any]) -> None:
        """Called after each optimizer step; `self.step` are done."""
        raise NotImplementedError


class ProgressBar(StepCallback):
    """Progress bar, TensorBoard scalars and the log of a run.

    Every `log_every` steps it shows the means since the last time: losses
    and accuracies, examples and real tokens per second, the share of time
    spent waiting for data; then resets the means.

    Args:
        start_step: Steps done before.
        total_steps: Steps of the whole run.
        log_every: Steps between two lines.
        batch_size: Examples of a global batch.
        checkpoints: Holds the last report.
        log_dir: Folder of the TensorBoard events, and of `log.jsonl`.

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
        """See the class."""
        super().__init__(start_step)
        self.total_steps = total_steps
        self.log_every = log_every
        self.batch_size = batch_size
        self.checkpoints = checkpoints
        self.log_dir = log_dir
        self.bar: Any = None
        self.writer: Any = None
        # An evaluation may be repeated before the training begins.
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
        """Closes the bar and the writers, as far as they were opened."""
        for opened in (self.bar, self.writer):
            if opened is not None:
                opened.close()

    def after_step(self, logs: dict[str, Any]) -> None:
        """Reports every `log_every` steps and at the last."""
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
        """Leaves the time and the input of the block out of the rates."""
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
        start_step: Steps done before.
        total_steps: Steps of the whole run; the last is evaluated too.
        every: Steps between two evaluations.
        evaluate: Returns the metrics on the held-out data; may raise
            Interrupted, and is then called again by the run that resumes.
        best_metric: Metric that selects models.
        patience: Evaluations without a better value before stopping; 0 for
            never.
        checkpoints: Holds the best value.
        save_best: Called when the value is the best so far.
        log_dir: Folder of the TensorBoard events.

    Raises:
        ValueError: The evaluation gave no `best_metric` (from the callback).
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
        """See the class."""
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
        """Evaluates before the first step: a stop broke it off after it."""
        progress = self.checkpoints.progress
        start = time.perf_counter()
        truncate_log(self.log_dir, self.step, evaluated=False)
        self._evaluate()
        progress.seconds += time.perf_counter() - start

    def _evaluate(self) -> None:
        """Evaluates; records what came out, or that nothing did."""
        try:
            values = self.evaluate()
        except Interrupted:
            self.checkpoints.progress.evaluation_pending = True
            return
        text = "  ".join(f"{name} {v:.4f}" for name, v in values.items())
        tqdm.write(f"step {self.step}: held-out {text}", file=sys.stderr)
        self.checkpoints.progress.evaluation = values
        self.checkpoints.progress.evaluation_pending = False
        writer = tf.summary.create_file_writer(self.log_dir)
        with writer.as_default(step=self.step):
            for name, value in values.items():
                tf.summary.scalar(f"eval/{name}", value)
        writer.close()
        write_log(
            self.log_dir,
            {
                "step": self.step,
                **{f"eval_{name}": value for name, value in values.items()},
            },
        )
        self._select(values)

    def _select(self, values: dict[str, float]) -> None:
        """Updates the best value; stops when patience is used up."""
        if self.best_metric not in values:
            raise ValueError(
                f"`best_metric` must be one of {sorted(values)}, which the "
                f"evaluation at step {self.step} gave. Received: "
                f"{self.best_metric!r}"
            )
        progress = self.checkpoints.progress
        value = values[self.best_metric]
        if is_better(self.best_metric, value, progress.best_value):
            progress.best_value = value
            progress.best_step = self.step
            progress.best_evaluation = values
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
    """Saves the state of the run; stops at a signal after a last save.

    Args:
        start_step: Steps done before.
        total_steps: Steps of the whole run; the last is saved too.
        every: Steps between two checkpoints.
        checkpoints: Where to.
        signals: Those that end the run after the step in progress.

    Raises:
        FloatingPointError: There is a value in the weights or the loss that
            is not finite; nothing is saved then (from the callback).
    """

    def __init__(
        self,
        start_step: int,
        total_steps: int,
        every: int,
        checkpoints: Checkpoints,
        signals: StopSignals,
    ) -> None:
        """See the class."""
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
            # A state that no run can go on from must not replace a good one.
            check_finite("the loss", float(logs.get("loss", 0.0)), self.step)
            for variable in self.model.trainable_variables:
                total = float(tf.reduce_sum(0.0 * variable.value))
                check_finite(f"a weight ({variable.path})", total, self.step)
            self.checkpoints.save()


def check_finite(what: str, value: float, step: int) -> None:
    """Raises FloatingPointError for inf and nan."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"{what} is not finite at step {step}; try a lower "
            "`learning_rate` or another `precision`. Received: "
            f"{value}. The last checkpoint is kept"
        )


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Returns whether a value beats the best: lower for losses."""
    if best is None:
        return not np.isnan(value)
    lower = metric.endswith(LOWER_IS_BETTER)
    return value < best if lower else value > best


def truncate_log(log_dir: str, step: int, evaluated: bool = True) -> None:
    """Drops the lines of `log.jsonl` after a step: they come again.

    Args:
        log_dir: Its folder.
        step: The last step to keep.
        evaluated: Whether to keep the evaluation of that step as well.
    """
    path = os.path.join(log_dir, "log.jsonl")
    if not tf.io.gfile.exists(path):
        return
    kept = []
    with tf.io.gfile.GFile(path) as file:
        for line in file:
            # A line that a kill cut off has no end, and may not be JSON.
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
