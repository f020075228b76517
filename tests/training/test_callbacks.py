"""The callbacks of a run, on a stand-in for the model."""

import json
import math
import pathlib
import signal
import time
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.training import callbacks
from tfllm.training.callbacks import (
    Checkpointing,
    Evaluation,
    ProgressBar,
    is_better,
)
from tfllm.training.checkpoints import Progress
from tfllm.training.distribution import Workers
from tfllm.training.stop_signals import StopSignals

UNASKED = StopSignals(Workers(tf.distribute.get_strategy()))


class Model:
    """What the callbacks ask of a task."""

    kind = "masked_lm"

    def __init__(self) -> None:
        self.optimizer = keras.optimizers.SGD(0.5)
        self.trainable_variables = [keras.Variable(np.ones(2, "float32"))]
        self.input_wait_seconds = 0.0
        self.tokens_seen = 0
        self.stop_training = False
        self.resets = 0

    def reset_metrics(self) -> None:
        self.resets += 1


class Checkpoints:
    """Remembers what was saved."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.saved: list[int] = []

    def save(self) -> None:
        self.saved.append(self.progress.step)


@pytest.fixture
def checkpoints() -> Checkpoints:
    return Checkpoints()


def run(callback: Any, losses: list[float], model: Any = None) -> Model:
    """Plays steps until one asks for a stop."""
    model = model or Model()
    callback.set_model(model)
    try:
        callback.on_train_begin()
        for batch, loss in enumerate(losses):
            callback.on_train_batch_end(batch, {"loss": loss})
            if model.stop_training:
                break
    finally:
        callback.on_train_end()
    return model


def log(folder: pathlib.Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def evaluation(
    values: list[float],
    checkpoints: Any,
    folder: pathlib.Path,
    metric: str = "loss",
    patience: int = 0,
) -> tuple[Evaluation, list[int]]:
    """An evaluation at every second step, and the steps found best."""
    best: list[int] = []
    source = iter(values)
    folder.mkdir(exist_ok=True)
    callback = Evaluation(
        0,
        2 * len(values),
        2,
        lambda: {metric: next(source)},
        metric,
        patience,
        checkpoints,
        lambda: best.append(callback.step),
        str(folder),
    )
    return callback, best


@pytest.mark.parametrize(
    ("metric", "best"),
    [("loss", [2, 6]), ("mlm_accuracy", [2, 4, 8]), ("perplexity", [2, 6])],
)
def test_direction_of_the_best_metric(
    tmp_path: pathlib.Path, checkpoints: Any, metric: str, best: list[int]
) -> None:
    callback, found = evaluation(
        [0.5, 0.6, 0.4, 0.7], checkpoints, tmp_path, metric
    )
    run(callback, [1.0] * 8)
    assert found == best
    assert checkpoints.progress.best_step == best[-1]
    value = {"mlm_accuracy": 0.7}.get(metric, 0.4)
    assert checkpoints.progress.best_evaluation == {metric: value}
    assert checkpoints.progress.evaluation == {metric: 0.7}


def test_patience(tmp_path: pathlib.Path, checkpoints: Any) -> None:
    callback, _ = evaluation(
        [0.5, 0.6, 0.4, 0.4, 0.5, 0.1], checkpoints, tmp_path, patience=2
    )
    model = run(callback, [1.0] * 12)
    assert model.stop_training
    assert callback.step == 10
    assert checkpoints.progress.best_value == 0.4


def test_a_best_metric_that_is_not_measured(
    tmp_path: pathlib.Path, checkpoints: Any
) -> None:
    callback, best = evaluation([0.5], checkpoints, tmp_path)
    callback.best_metric = "f1"
    with pytest.raises(
        ValueError, match=r"one of \['loss'\].* step 2 .*Received: 'f1'"
    ):
        run(callback, [1.0] * 2)
    # What was measured is in the log all the same.
    assert log(tmp_path) == [{"step": 2, "eval_loss": 0.5}]
    assert best == []


def test_no_patience_never_stops(
    tmp_path: pathlib.Path, checkpoints: Any
) -> None:
    callback, _ = evaluation([1, 2, 3, 4], checkpoints, tmp_path)
    assert not run(callback, [1.0] * 8).stop_training


def test_nan_is_never_better() -> None:
    assert not is_better("loss", math.nan, None)
    assert not is_better("loss", math.nan, 1.0)
    assert not is_better("accuracy", math.nan, 0.0)
    assert is_better("loss", 1.0, None)


def bar(
    folder: pathlib.Path, checkpoints: Any, start: int = 0, total: int = 6
) -> ProgressBar:
    return ProgressBar(start, total, 4, 8, checkpoints, str(folder))


def test_reports(
    tmp_path: pathlib.Path, checkpoints: Any, monkeypatch: Any
) -> None:
    """Rates of a clock that the test turns; what is excluded is not in."""
    clock = [100.0]
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: clock[0])
    model = Model()
    callback = bar(tmp_path, checkpoints)
    callback.set_model(model)
    callback.on_train_begin()
    for batch in range(6):
        clock[0] += 2.0
        model.tokens_seen += 100
        model.input_wait_seconds += 0.5
        if batch == 1:  # an evaluation between two reports
            with callback.excluded():
                clock[0] += 50.0
                model.tokens_seen += 7000
                model.input_wait_seconds += 30.0
        callback.on_train_batch_end(batch, {"loss": 1.0 + batch})
    callback.on_train_end()
    lines = log(tmp_path)
    assert [line["step"] for line in lines] == [4, 6]
    assert [line["loss"] for line in lines] == [4.0, 6.0]
    for line in lines:
        assert line["examples_per_second"] == pytest.approx(8 / 2)
        assert line["tokens_per_second"] == pytest.approx(100 / 2)
        assert line["data_wait_share"] == pytest.approx(0.25)
        assert line["learning_rate"] == 0.5
    assert model.resets == 2
    assert checkpoints.progress.report["loss"] == 6.0
    (events,) = tmp_path.glob("events*")
    found = {
        (event.step, value.tag)
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {(4, "train/loss"), (6, "train/tokens_per_second")} <= found


def test_a_resumed_run_does_not_repeat_its_log(
    tmp_path: pathlib.Path, checkpoints: Any
) -> None:
    run(bar(tmp_path, checkpoints, total=12), [1.0] * 12)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')  # what a kill cut off
    run(bar(tmp_path, checkpoints, start=6, total=12), [2.0] * 6)
    assert [(x["step"], x["loss"]) for x in log(tmp_path)] == [
        (4, 1.0),
        (8, 2.0),
        (12, 2.0),
    ]


def test_a_log_that_cannot_be_opened_is_the_error(
    tmp_path: pathlib.Path, checkpoints: Any
) -> None:
    """And not what closing does without it."""
    (tmp_path / "logs").touch()
    with pytest.raises(tf.errors.OpError, match="logs"):
        run(bar(tmp_path / "logs", checkpoints), [1.0])
    (tmp_path / "log.jsonl").write_text("no JSON\n")
    with pytest.raises(json.JSONDecodeError):
        run(bar(tmp_path, checkpoints), [1.0])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(
    tmp_path: pathlib.Path, checkpoints: Any, loss: float
) -> None:
    with pytest.raises(FloatingPointError, match=f"step 4.* Received: {loss}"):
        run(bar(tmp_path, checkpoints), [1.0, 1.0, 1.0, loss])
    assert not (tmp_path / "log.jsonl").exists()


def test_saves(checkpoints: Any) -> None:
    run(Checkpointing(0, 7, 3, checkpoints, UNASKED), [1.0] * 7)
    assert checkpoints.saved == [3, 6, 7]
    assert checkpoints.progress.seconds > 0


def test_nothing_is_saved_that_no_run_can_go_on_from(
    checkpoints: Any,
) -> None:
    """Between two reports as well: a bad save would replace a good one."""
    with pytest.raises(FloatingPointError, match="loss .* step 6"):
        run(
            Checkpointing(0, 9, 3, checkpoints, UNASKED),
            [1, 1, 1, 1, 1, math.nan],
        )
    assert checkpoints.saved == [3]
    model = Model()
    model.trainable_variables[0].assign([1.0, math.inf])
    with pytest.raises(FloatingPointError, match="a weight"):
        run(Checkpointing(0, 9, 1, checkpoints, UNASKED), [1.0], model)
    assert checkpoints.saved == [3]


def test_a_signal_saves_and_stops(checkpoints: Any) -> None:
    model = Model()
    with StopSignals(Workers(tf.distribute.get_strategy())) as signals:
        callback = Checkpointing(0, 9, 100, checkpoints, signals)
        callback.set_model(model)
        callback.on_train_begin()
        callback.on_train_batch_end(0, {})
        signal.raise_signal(signal.SIGTERM)
        assert not model.stop_training
        callback.on_train_batch_end(1, {})
    assert model.stop_training
    assert checkpoints.saved == [2]


def test_time_adds_up_over_restarts(checkpoints: Any) -> None:
    checkpoints.progress.seconds = 1000.0
    callback = Checkpointing(5, 6, 1, checkpoints, UNASKED)
    callback.set_model(Model())
    callback.on_train_begin()
    time.sleep(0.01)
    callback.on_train_batch_end(0, {})
    callback.on_train_end()
    assert 1000.0 < checkpoints.progress.seconds < 1010.0
    assert checkpoints.saved == [6]
