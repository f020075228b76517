"""Mean and deviation over seeds."""

import json
import pathlib

import numpy as np
import pytest

from tfllm import train
from tfllm.runs.run_config import RunConfig
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


def test_seeds_may_be_added(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str]] = []

    def run(config: RunConfig) -> dict:
        seen.append((config.seed, pathlib.Path(config.model_dir).name))
        assert not config.seeds
        return RESULTS[config.seed]

    def run_with(**changes: str | float) -> dict:
        return train.run_seeds(config.replace(**changes))

    monkeypatch.setattr(train, "run", run)
    config = RunConfig.of(model_dir=str(tmp_path))
    assert set(run_with(seeds="1,2")["seeds"]) == {"1", "2"}
    seen.clear()
    found = run_with(seeds="10, 1,2")
    # The train verb finds those that are done.
    assert seen == [(10, "seed_10"), (1, "seed_1"), (2, "seed_2")]
    assert found["mean"] == {"f1": pytest.approx(0.5)}
    written = json.loads((tmp_path / "seeds_results.json").read_text())
    assert set(written["seeds"]) == {"1", "2", "10"}
    # None may go, and the rest stays as it was.
    for changes, message in (
        ({"seeds": "1,2"}, "seeds was '10, 1,2', is '1,2'$"),
        ({"seeds": ""}, "seeds was '10, 1,2', is ''$"),
        ({"seeds": "1,2,3,10", "dropout": 0.5}, "Received: dropout was None"),
    ):
        with pytest.raises(ValueError, match=message):
            run_with(**changes)


def test_a_run_of_one_seed_does_not_become_one_of_several(
    tmp_path: pathlib.Path,
) -> None:
    config = RunConfig.of(model_dir=str(tmp_path))
    (tmp_path / "run.json").write_text(json.dumps(config.settings))
    with pytest.raises(ValueError, match="seeds was '', is '1,2'"):
        train.run_seeds(config.replace(seeds="1,2"))


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
