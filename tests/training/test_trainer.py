"""A run that is stopped while it evaluates, and while it saves."""

import json
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.tiny_task import batches, dataset, model_config
from tfllm.evaluation.evaluate import evaluate
from tfllm.learning.optimizers import OptimizerConfig
from tfllm.learning.schedules import ScheduleConfig
from tfllm.tasks import MaskedLM
from tfllm.training import trainer
from tfllm.training.checkpoints import Checkpoints
from tfllm.training.trainer import RunResult, Terminated, TrainerConfig

# tf.data traces all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the:UserWarning")

STEPS, EVERY = 6, 2
# The held-out data of a run, and its batch at which the signal comes.
HELD_OUT, MIDDLE = batches(3), 2


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """Tracing would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class Data:
    """The training batches, from a step on."""

    def dataset(self, start: int) -> tf.data.Dataset:
        return dataset(batches(STEPS)[start:])


class Run:
    """One run in a folder, started as often as wanted."""

    def __init__(self, folder: pathlib.Path, patience: int = 0) -> None:
        self.config = TrainerConfig(
            model_dir=str(folder),
            batch_size=8,
            schedule=ScheduleConfig(1e-2, STEPS),
            optimizer=OptimizerConfig("adamw"),
            log_every=1,
            eval_every=EVERY,
            checkpoint_every=100,
            best_metric="loss",
            early_stopping_patience=patience,
        )
        self.log = folder / "logs" / "log.jsonl"
        self.evaluated: list[int] = []
        self.best: list[int] = []
        self.weights: list[Any] = []

    def start(self, stop_in: tuple[int, ...] = ()) -> Any:
        """Trains; stops in the evaluations of those numbers, from 1."""
        keras.utils.set_random_seed(1)
        task = MaskedLM(model_config(dropout=0.1))
        trainer.compile_task(task, self.config)
        count = 0

        def measure(before_batch: Callable[[], None]) -> dict[str, float]:
            nonlocal count
            count += 1
            seen = 0

            def play() -> None:
                nonlocal seen
                seen += 1
                if seen == MIDDLE and count in stop_in:
                    signal.raise_signal(signal.SIGTERM)
                assert seen <= MIDDLE or count not in stop_in
                before_batch()

            values = evaluate(task, dataset(HELD_OUT), play)
            self.evaluated.append(int(task.optimizer.iterations.numpy()))
            return values

        def save_best() -> None:
            self.best.append(int(task.optimizer.iterations.numpy()))

        result = trainer.train(task, self.config, Data(), measure, save_best)
        self.weights = [v.numpy() for v in task.variables]
        return result

    def lines(self) -> list[tuple[int, str, float]]:
        """Steps, losses of training or evaluation, in the order written."""
        return [
            (line["step"], name, line[name])
            for line in map(json.loads, self.log.read_text().splitlines())
            for name in ("loss", "eval_loss")
            if name in line
        ]


def same(first: Run, second: Run) -> bool:
    return all(map(np.array_equal, first.weights, second.weights))


@pytest.mark.parametrize("number", [1, 3])
def test_the_evaluation_that_a_stop_broke_off_is_done_by_the_next_start(
    tmp_path: pathlib.Path, number: int
) -> None:
    """Its step is saved at once; the last evaluation is one as well."""
    whole = Run(tmp_path / "whole")
    expected: RunResult = whole.start()
    assert whole.evaluated == [2, 4, 6]
    run = Run(tmp_path / "stopped")
    with pytest.raises(Terminated, match=f"SIGTERM after step {2 * number};"):
        run.start(stop_in=(number,))
    assert run.evaluated == whole.evaluated[: number - 1]
    # And once more, in the evaluation that is repeated.
    with pytest.raises(Terminated, match=f"SIGTERM after step {2 * number};"):
        run.start(stop_in=(1,))
    found = run.start()
    assert not found.already_finished
    assert run.evaluated == whole.evaluated
    assert run.best == whole.best
    assert same(run, whole)
    assert found.evaluation == expected.evaluation
    assert found.best_evaluation == expected.best_evaluation
    assert found.steps == expected.steps == STEPS
    lines = run.lines()
    assert sorted(lines) == sorted(whole.lines())
    assert lines == whole.lines()
    # What was found is on the disk: nothing is left to do.
    again = run.start()
    assert again.already_finished
    assert again.evaluation == expected.evaluation
    assert run.evaluated == whole.evaluated


def test_patience_that_ends_in_a_repeated_evaluation(
    tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    """No step more than without the stop."""
    monkeypatch.setattr(
        "tfllm.training.callbacks.is_better", lambda _, __, best: best is None
    )
    whole = Run(tmp_path / "whole", patience=1)
    assert whole.start().steps == 4
    run = Run(tmp_path / "stopped", patience=1)
    with pytest.raises(Terminated):
        run.start(stop_in=(2,))
    result = run.start()
    assert (result.steps, result.already_finished) == (4, False)
    assert run.evaluated == whole.evaluated == [2, 4]
    assert same(run, whole)
    assert run.start().already_finished


def test_a_kill_after_the_repeated_evaluation_repeats_no_line(
    tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    run = Run(tmp_path)
    with pytest.raises(Terminated):
        run.start(stop_in=(1,))
    with monkeypatch.context() as patch:

        def killed(_: Checkpoints) -> None:
            raise SystemExit

        patch.setattr(Checkpoints, "save", killed)
        with pytest.raises(SystemExit):
            run.start()
    run.start()
    assert [step for step, name, _ in run.lines() if name == "eval_loss"] == [
        2,
        4,
        6,
    ]


def test_a_second_signal_does_not_cut_off_the_last_save(
    tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    """By itself Python would end at once."""
    seen = []
    wait = Checkpoints.wait

    def waiting(checkpoints: Checkpoints) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))
        wait(checkpoints)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Checkpoints, "wait", waiting)
    with pytest.raises(Terminated):
        Run(tmp_path).start(stop_in=(1,))
    assert seen
    assert before not in seen
    assert signal.getsignal(signal.SIGTERM) is before
