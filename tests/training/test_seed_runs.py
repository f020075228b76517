"""Mean and deviation over seeds."""

import numpy as np
import pytest

from tfllm.training.seed_runs import run_seeds, summary, table

RESULTS = {
    1: {"loss": 9.0, "eval_f1": 0.5, "eval_steps": 7, "eval_date": "today"},
    2: {"loss": 8.0, "eval_f1": 0.8, "eval_steps": 7, "eval_only": 1.0},
    10: {"loss": 7.0, "eval_f1": 0.2, "eval_steps": 9},
}


def test_each_seed_has_its_folder() -> None:
    calls = []

    def run(seed: int, folder: str) -> dict:
        calls.append((seed, folder))
        return RESULTS[seed]

    assert run_seeds([2, 10], "runs/x", run)["seeds"]["10"] == {"f1": 0.2}
    assert calls == [(2, "runs/x/seed_2"), (10, "runs/x/seed_10")]


def test_figures_that_all_have() -> None:
    found = summary(RESULTS)
    values = [0.5, 0.8, 0.2]
    assert found["mean"] == {"f1": pytest.approx(np.mean(values))}
    assert found["deviation"] == {"f1": pytest.approx(np.std(values, ddof=1))}
    assert found["seeds"]["2"] == {"f1": 0.8, "only": 1.0}
    assert summary({1: RESULTS[1]})["deviation"] == {"f1": 0.0}


def test_table() -> None:
    header, row = table(summary(RESULTS)).splitlines()
    assert header.split()[-4:] == ["seed", "10", "mean", "deviation"]
    assert row.split() == [
        "f1",
        "0.5000",
        "0.8000",
        "0.2000",
        "0.5000",
        "0.3000",
    ]
