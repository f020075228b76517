"""What happens around the steps of a run."""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm.training.checkpoints import Checkpoints


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


class Progress(StepCallback):
    """Progress bar, TensorBoard scalars and the log of a run.

    Every `log_every` steps it shows the means since the last time: losses
    and accuracies, examples and real tokens per second, the share of time
    spent waiting for data; then resets the means.

    Args:
        start_step: Steps done before.
        total_steps: Steps of the whole run.
        log_every: Steps between two lines.
        batch_size: Examples of a global batch.
        log_dir: Folder of the TensorBoard events, and of `log.jsonl`.

    Attributes:
        last_report: What was reported last.

    Raises:
        FloatingPointError: The loss is not finite (from the callback).
    """

    def __init__(
        self,
        start_step: int,
        total_steps: int,
        log_every: int,
        batch_size: int,
        log_dir: str,
    ) -> None:
        """See the class."""
        super().__init__(start_step)
        self.total_steps = total_steps
        self.log_every = log_every
        self.batch_size = batch_size
        self.log_dir = log_dir
        self.last_report: dict[str, float] = {}

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
        self.writer = tf.summary.create_file_writer(self.log_dir)
        self._restart()

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the bar and the writers."""
        self.bar.close()
        self.writer.close()

    def after_step(self, logs: dict[str, Any]) -> None:
        """Reports every `log_every` steps and at the last."""
        self.bar.update()
        if self.step % self.log_every and self.step != self.total_steps:
            return
        values = {name: float(value) for name, value in logs.items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"the loss is {values['loss']} at step {self.step}; try a "
                "lower `learning_rate` or another `precision`. The last "
                "checkpoint is kept"
            )
        self._report(values)
        self.model.reset_metrics()
        self._restart()

    def exclude(self, seconds: float) -> None:
        """Leaves out time that went into something else, and its input."""
        self._start += seconds
        self._waited = self.model.input_wait_seconds
        self._tokens = self.model.tokens_seen

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
        self.last_report = values
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
        evaluate: Returns the metrics on the held-out data.
        best_metric: Metric that selects models.
        patience: Evaluations without a better value before stopping; 0 for
            never.
        checkpoints: Holds the best value.
        save_best: Called when the value is the best so far.
        log_dir: Folder of the TensorBoard events.
        report: Called with the metrics and the seconds it took.
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
        report: Callable[[dict[str, float], float], None],
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
        self.report = report

    def after_step(self, logs: dict[str, Any]) -> None:
        """Evaluates every `every` steps and after the last."""
        if self.step % self.every and self.step != self.total_steps:
            return
        start = time.perf_counter()
        values = self.evaluate()
        if self.best_metric not in values:
            raise ValueError(
                f"`best_metric` must be one of {sorted(values)}. "
                f"Received: {self.best_metric!r}"
            )
        self._select(values[self.best_metric])
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
        self.report(values, time.perf_counter() - start)

    def _select(self, value: float) -> None:
        """Updates the best value; stops when patience is used up."""
        progress = self.checkpoints.progress
        if is_better(self.best_metric, value, progress.best_value):
            progress.best_value = value
            progress.best_step = self.step
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
    """Saves the state of the run; stops at SIGTERM after a last save.

    Args:
        start_step: Steps done before.
        total_steps: Steps of the whole run; the last is saved too.
        every: Steps between two checkpoints.
        checkpoints: Where to.

    Attributes:
        terminated: Whether SIGTERM ended the run.
    """

    def __init__(
        self,
        start_step: int,
        total_steps: int,
        every: int,
        checkpoints: Checkpoints,
    ) -> None:
        """See the class."""
        super().__init__(start_step)
        self.total_steps = total_steps
        self.every = every
        self.checkpoints = checkpoints
        self.terminated = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Takes over SIGTERM."""
        self._start = time.perf_counter()
        self._seconds = self.checkpoints.progress.seconds
        self._previous: Any = None
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._terminate)

    def on_train_end(self, logs: Any = None) -> None:
        """Gives SIGTERM back."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _terminate(self, *_: Any) -> None:
        """Asks for a stop after the step in progress."""
        self.terminated = True

    def after_step(self, logs: dict[str, Any]) -> None:
        """Saves every `every` steps, at the last, and when stopped."""
        progress = self.checkpoints.progress
        progress.step = self.step
        progress.seconds = self._seconds + time.perf_counter() - self._start
        if self.terminated:
            self.model.stop_training = True
        if (
            self.step % self.every == 0
            or self.step == self.total_steps
            or self.model.stop_training
        ):
            self.checkpoints.save()


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Returns whether a value beats the best: lower for losses."""
    if best is None:
        return not np.isnan(value)
    lower = metric.endswith(("loss", "perplexity", "error"))
    return value < best if lower else value > best


def write_log(log_dir: str, values: dict[str, Any]) -> None:
    """Appends one JSON line to `log.jsonl`."""
    path = os.path.join(log_dir, "log.jsonl")
    with tf.io.gfile.GFile(path, "a") as file:
        file.write(json.dumps(values) + "\n")
