"""The search: its table, its chart, and what an interruption leaves."""

import json
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests import verbs
from tests.verbs import Finished, Workplace, signal_at
from tfllm.runs.run_config import RunConfig
from tools import tune
from tools.tune import SearchConfig, Trial

pytest.importorskip("keras_tuner", reason="needs the extra `tune`")
# KerasTuner 1.4 itself.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:keras_tuner.*"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("tune"))


def run_search(work: Workplace, model_dir: str, during: Any = None) -> Finished:
    flags = work.flags(
        model_dir,
        **{
            "train_steps": 4,
            "eval_every": 4,
            "checkpoint_every": 1,
            "log_every": 1,
            "best_metric": "mlm_loss",
            "learning_rates": "1e-3,1e-1",
            "batch_sizes": "8,16",
        },
    )
    return verbs.run("tune", *flags, during=during)


@pytest.mark.slow
@pytest.mark.dist
def test_a_search_goes_on_where_it_was_stopped(work: Workplace) -> None:
    stop = signal_at(work, "search/trial_1", 1, signal.SIGTERM)
    first = run_search(work, "search", stop)
    # It may have been done by then.
    assert first.status in (0, 143), first.stderr[-3000:]
    before = work.json("search/trial_0/train_results.json")

    again = run_search(work, "search")
    assert again.status == 0, again.stderr[-3000:]
    assert work.json("search/trial_0/train_results.json") == before
    found = work.json("search/tune_results.json")
    assert found["best_metric"] == "mlm_loss"
    trials = found["trials"]
    assert sorted((t["learning_rate"], t["batch_size"]) for t in trials) == [
        (1e-3, 8),
        (1e-3, 16),
        (1e-1, 8),
        (1e-1, 16),
    ]
    # Better first, as in the table, and as the runs themselves say.
    values = [t["value"] for t in trials]
    assert values == sorted(values)
    for trial in trials:
        results = work.json(f"search/trial_{trial['number']}/eval_results.json")
        assert results["mlm_loss"] == trial["value"]
        assert results["steps"] == trial["best_step"] == 4
    rows = [line.split() for line in again.stdout.splitlines()]
    for t in trials:
        rate, size = f"{t['learning_rate']:g}", str(t["batch_size"])
        assert [rate, size, f"{t['value']:.4f}", "4"] in rows
    chart = (work.folder / "search" / "tune.png").read_bytes()
    assert chart.startswith(b"\x89PNG")
    assert len(chart) > 5000


@pytest.mark.slow
@pytest.mark.dist
def test_a_search_for_something_else_is_refused(work: Workplace) -> None:
    folder = work.folder / "other"
    folder.mkdir()
    (folder / "run.json").write_text(
        json.dumps({"seed": 0, "learning_rates": [1.0]})
    )
    refused = run_search(work, "other")
    assert refused.status == 1
    assert "learning_rates was [1.0]" in refused.errors[-1]


def test_the_step_of_a_trial_outlives_an_evaluation(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "trial_7").mkdir()
    for name, values in (
        ("train_results.json", {"steps": 9, "best_step": 4}),
        ("eval_results.json", {"loss": 1.0}),
    ):
        (tmp_path / "trial_7" / name).write_text(json.dumps(values))
    config = RunConfig.of(model_dir=str(tmp_path))
    assert tune._best_step(config, "7") == 4
    assert tune._best_step(config, "8") == 0  # one that diverged


@pytest.mark.parametrize(
    "search", [pytest.param("random", marks=pytest.mark.wide), "bayesian"]
)
def test_rates_between_the_ends(
    search: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that are played: the smaller the rate the better, one diverges."""
    seen: list[RunConfig] = []

    def run(config: RunConfig) -> dict[str, float]:
        seen.append(config)
        if len(seen) == 2:
            raise FloatingPointError("the loss is not finite")
        return {"eval_accuracy": 1.0 - config.schedule.learning_rate}

    monkeypatch.setattr(tune.train, "run", run)
    config = RunConfig.of(
        model_dir=str(tmp_path), best_metric="accuracy", train_steps=9
    )
    trials = tune.run(config, SearchConfig(search, (0.5, 1e-3), (8, 16), 5))
    assert len(trials) == len(seen) == 5
    assert trials[-1].value is None
    rates = [trial.learning_rate for trial in trials[:-1]]
    assert rates == sorted(rates)
    assert all(1e-3 <= rate <= 0.5 for rate in rates)
    assert min(rates) < 0.05  # on a logarithmic scale
    assert {trial.batch_size for trial in trials} <= {8, 16}
    assert seen[0].model_dir == str(tmp_path / "trial_0")
    # What is done is not done again.
    assert tune.run(config, SearchConfig(search, (0.5, 1e-3), (8, 16), 5))
    assert len(seen) == 5


@pytest.mark.parametrize(
    "max_trials", [pytest.param(0, marks=pytest.mark.wide), 5]
)
def test_a_grid_survives_kills(
    max_trials: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each search is a process: nothing but the folder outlives a kill."""

    class Kill(BaseException):
        pass

    begun: list[tuple[float, int, str]] = []

    def run(config: RunConfig) -> dict[str, float]:
        folder = pathlib.Path(config.model_dir).name
        begun.append(
            (config.schedule.learning_rate, config.data.batch_size, folder)
        )
        if len(begun) in (2, 3, 6):
            raise Kill
        return {
            "eval_accuracy": config.schedule.learning_rate
            / config.data.batch_size
        }

    monkeypatch.setattr(tune.train, "run", run)
    config = RunConfig.of(model_dir=str(tmp_path), best_metric="accuracy")
    search = SearchConfig("grid", (0.2, 0.1, 0.3), (8, 20), max_trials)
    for _ in range(3):
        with pytest.raises(Kill):
            tune.run(config, search)
    trials = tune.run(config, search)
    pairs = [(rate, size) for rate in (0.1, 0.2, 0.3) for size in (8, 20)]
    pairs = pairs[: max_trials or 6]
    # Those that a kill cut off come again, in their own folders.
    assert begun == [
        (*pairs[number], f"trial_{number}")
        for number in [0, 1, 1, 1, 2, 3, 3, *range(4, len(pairs))]
    ]
    found = [(t.learning_rate, t.batch_size, t.value) for t in trials]
    assert found == sorted(
        ((*pair, pair[0] / pair[1]) for pair in pairs),
        key=lambda row: -row[2],
    )


def test_a_mistake_ends_the_search(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(config: RunConfig) -> dict[str, float]:
        raise ValueError("`train_files` is wrong")

    monkeypatch.setattr(tune.train, "run", run)
    config = RunConfig.of(model_dir=str(tmp_path), best_metric="accuracy")
    with pytest.raises(ValueError, match="`train_files` is wrong"):
        tune.run(config, SearchConfig("grid", (1.0, 2.0), (8,)))


def test_the_table_shows_what_diverged() -> None:
    lines = tune.table(
        "accuracy",
        [
            Trial("0", 2e-5, 16, 0.91234, 40),
            Trial("1", 1.0, 16, None, 0),
        ],
    ).splitlines()
    assert lines[1].split() == ["2e-05", "16", "0.9123", "40"]
    assert lines[2].split() == ["1", "16", "diverged", "0"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("grid", (), (8,)), r"`learning_rates` .*Received: \(\)"),
        (("grid", (1.0,), (0,)), r"`batch_sizes` .*Received: \(0,\)"),
        (("random", (1.0, 2.0), (8,)), "`max_trials` is needed .*random"),
        (("random", (1.0,), (8,), 3), "the smallest and the largest"),
    ],
)
def test_wrong_settings(settings: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchConfig(*settings)


def test_a_grid_has_all_pairs() -> None:
    assert SearchConfig("grid", (1.0, 2.0, 3.0), (8, 16)).trials == 6
    assert SearchConfig("grid", (1.0, 2.0, 3.0), (8, 16), 4).trials == 4


def test_losses_and_errors_are_better_small() -> None:
    assert tune.is_smaller_better("mlm_loss")
    assert tune.is_smaller_better("mean_squared_error")
    assert not tune.is_smaller_better("macro_f1")


def test_it_imports_no_tuner_before_it_is_needed(
    tmp_path: pathlib.Path,
) -> None:
    code = "import sys, tools.tune; sys.exit('keras_tuner' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=verbs.ROOT)
    assert done.returncode == 0
