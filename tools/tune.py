r"""Searches for the learning rate and the batch size of a run.

    python -m tools.tune \
        --flagfile=configs/bert_minilm_trec_classification.flags \
        --model_dir=runs/trec_search --best_metric=accuracy \
        --learning_rates=5e-5,1e-4,2e-4 --batch_sizes=16,32

All flags of the train verb are taken; --best_metric on --eval_files is what
counts. Each trial is a run of its own in a folder of --model_dir. The same
command resumes a search that was interrupted, in the middle of a trial. At
its end --model_dir has tune_results.json and tune.png, and the table is
printed. Needs KerasTuner: pip install 'tfllm[tune]'.
"""

import contextlib
import dataclasses
import itertools
import math
import os
import sys
from typing import Any

import tfllm.lean_keras  # noqa: F401

# isort: split
import keras
from absl import flags as absl_flags

from tfllm import flags, train, train_flags
from tfllm.evaluation import charts
from tfllm.run_config import RunConfig
from tfllm.training import run_folder, trainer
from tfllm.training.callbacks import is_better

FLAGS = absl_flags.FLAGS
SEARCHES = ("grid", "random", "bayesian")
RESULTS_FILE = "tune_results.json"
CHART_FILE = "tune.png"


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What is searched, and how.

    Attributes:
        search: "grid": all pairs. "random" and "bayesian": rates between the
            smallest and the largest, on a logarithmic scale.
        learning_rates: Rates.
        batch_sizes: Sizes.
        max_trials: Runs at most; 0 for all pairs of a grid.
    """

    search: str
    learning_rates: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    max_trials: int = 0

    def __post_init__(self) -> None:
        """Validates the fields."""
        for name in ("learning_rates", "batch_sizes"):
            if not getattr(self, name) or min(getattr(self, name)) <= 0:
                raise ValueError(
                    f"`{name}` must be positive numbers, comma-separated. "
                    f"Received: {getattr(self, name)}"
                )
        if self.search != "grid":
            if not self.max_trials:
                raise ValueError(
                    f"`max_trials` is needed for --search={self.search}. "
                    "Received: 0"
                )
            if len(set(self.learning_rates)) < 2:
                raise ValueError(
                    "`learning_rates` must be the smallest and the largest "
                    f"for --search={self.search}. Received: "
                    f"{self.learning_rates}"
                )

    @property
    def trials(self) -> int:
        """Runs at most."""
        return self.max_trials or (
            len(self.learning_rates) * len(self.batch_sizes)
        )


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of the search.

    Attributes:
        number: Of its folder.
        learning_rate: Rate.
        batch_size: Size.
        value: Of the metric; None if the run diverged.
        best_step: Step of that value.
    """

    number: str
    learning_rate: float
    batch_size: int
    value: float | None
    best_step: int


def define() -> None:
    """Defines the flags."""
    train_flags.define()
    group = flags.Group("Search")
    group.choice("search", "grid", SEARCHES, "How trials are chosen.")
    group.string(
        "learning_rates", "2e-5,3e-5,5e-5", "All, or the ends of a range."
    )
    group.string("batch_sizes", "16,32", "All of them.")
    group.integer("max_trials", 0, "Runs at most; 0: all of a grid.")


def main() -> None:
    """Searches as the flags say."""
    config = train_flags.read()
    search = SearchConfig(
        FLAGS.search,
        _numbers("learning_rates", float),
        _numbers("batch_sizes", int),
        FLAGS.max_trials,
    )
    check(config, search)
    train.set_up_logging()
    try:
        trials = run(config, search)
    except trainer.Terminated as stop:
        print(stop, file=sys.stderr)
        # As the shell reports a program that the signal killed.
        sys.exit(128 + stop.number)
    print(table(config.best_metric, trials))
    print(f"Results: {os.path.join(config.model_dir, RESULTS_FILE)}")


def _numbers(flag: str, kind: type) -> tuple[Any, ...]:
    """Returns the numbers of a flag."""
    try:
        return tuple(kind(part) for part in FLAGS[flag].value.split(","))
    except ValueError:
        raise ValueError(
            f"`{flag}` must be numbers, comma-separated. "
            f"Received: {FLAGS[flag].value!r}"
        ) from None


def check(config: RunConfig, search: SearchConfig) -> None:
    """Raises ValueError if a run of the search could not be."""
    if not config.best_metric:
        raise ValueError(
            "`best_metric` is needed: it is what the search compares. "
            "Received: nothing; add --eval_files and --best_metric"
        )
    if config.seeds:
        raise ValueError(
            "`seeds` does not go with a search. "
            f"Received: {config.seeds!r}; give --seed"
        )
    for rate in search.learning_rates:
        for size in search.batch_sizes:
            dataclasses.replace(
                config, learning_rate=rate, batch_size=size
            ).check()


def run(config: RunConfig, search: SearchConfig) -> list[Trial]:
    """Runs all trials that are left, and writes what they gave.

    Args:
        config: RunConfig; `model_dir` is the folder of the search.
        search: SearchConfig.

    Returns:
        The trials, best first.
    """
    settings = {**config.settings, **dataclasses.asdict(search)}
    with contextlib.closing(run_folder.RunFolder(config.model_dir)) as folder:
        folder.open(settings, config.overwrite)
        folder.start(settings, config.values, config.overwrite)
        found = _search(config, search)
        folder.write(
            RESULTS_FILE,
            {
                "best_metric": config.best_metric,
                "trials": [dataclasses.asdict(trial) for trial in found],
                **run_folder.environment(),
            },
        )
    sizes = sorted({trial.batch_size for trial in found})
    charts.write_search(
        os.path.join(config.model_dir, CHART_FILE),
        "learning rate",
        config.best_metric,
        {
            f"batch size {size}": sorted(
                (trial.learning_rate, trial.value)
                for trial in found
                if trial.batch_size == size and trial.value is not None
            )
            for size in sizes
        },
    )
    return found


def _search(config: RunConfig, search: SearchConfig) -> list[Trial]:
    """Returns all trials, best first, those that diverged last."""
    try:
        import keras_tuner
    except ImportError as error:
        raise ImportError(
            "tools.tune needs KerasTuner. Install it with: "
            "pip install 'tfllm[tune]'"
        ) from error

    class Runs(keras_tuner.Tuner):
        """A tuner whose trials are runs of the train verb."""

        def run_trial(self, trial: Any, *_: Any, **__: Any) -> dict[str, float]:
            """Returns the value of the metric."""
            values = trial.hyperparameters.values
            # Nothing of the run before, not even its names.
            keras.utils.clear_session()
            try:
                result = train.run(
                    dataclasses.replace(
                        config,
                        model_dir=_folder(config, trial.trial_id),
                        learning_rate=values["learning_rate"],
                        batch_size=values["batch_size"],
                    )
                )
            except FloatingPointError as error:
                raise keras_tuner.errors.FailedTrialError(str(error)) from error
            except Exception as error:
                # Anything else would be the same in the next trial.
                raise keras_tuner.errors.FatalError(str(error)) from error
            return {config.best_metric: result[f"eval_{config.best_metric}"]}

    tuner = Runs(
        oracle=_oracle(config, search, keras_tuner),
        directory=config.model_dir,
        project_name="keras_tuner",
        overwrite=config.overwrite,
    )
    try:
        tuner.search(verbose=0)
    except keras_tuner.errors.FatalError as error:
        raise error.__cause__ or error from None
    trials = [
        Trial(
            trial.trial_id,
            trial.hyperparameters.values["learning_rate"],
            trial.hyperparameters.values["batch_size"],
            trial.score if trial.status == "COMPLETED" else None,
            _best_step(config, trial.trial_id),
        )
        for trial in tuner.oracle.trials.values()
    ]
    worst = math.inf if is_smaller_better(config.best_metric) else -math.inf
    return sorted(
        trials,
        key=lambda trial: worst if trial.value is None else trial.value,
        reverse=worst < 0,
    )


def _oracle(config: RunConfig, search: SearchConfig, keras_tuner: Any) -> Any:
    """Returns what chooses the trials."""
    space = keras_tuner.HyperParameters()
    rates = sorted(search.learning_rates)
    if search.search == "grid":
        space.Choice("learning_rate", rates, default=rates[0])
    else:
        space.Float("learning_rate", rates[0], rates[-1], sampling="log")
    space.Choice("batch_size", list(search.batch_sizes))
    oracles = {
        "grid": _grid_oracle(keras_tuner),
        "random": keras_tuner.oracles.RandomSearchOracle,
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
    }
    smaller = is_smaller_better(config.best_metric)
    return oracles[search.search](
        objective=keras_tuner.Objective(
            config.best_metric, "min" if smaller else "max"
        ),
        max_trials=search.trials,
        hyperparameters=space,
        tune_new_entries=False,
        allow_new_entries=False,
        # A rate that diverges does so every time.
        max_consecutive_failed_trials=search.trials + 1,
        seed=config.seed + 1,
    )


def _grid_oracle(keras_tuner: Any) -> type:
    """Returns the oracle that tries all combinations of choices.

    NOTE: KerasTuner's own forgets where it was when its process ends.
    """

    class Grid(keras_tuner.Oracle):
        """Gives the first combination that no trial has."""

        def populate_space(self, trial_id: str) -> dict[str, Any]:
            """Returns the values of the next trial, if there is one."""
            choices = {hp.name: hp.values for hp in self.get_space().space}
            tried = [
                trial.hyperparameters.values for trial in self.trials.values()
            ]
            for combination in itertools.product(*choices.values()):
                values = dict(zip(choices, combination, strict=True))
                if values not in tried:
                    return {"status": "RUNNING", "values": values}
            return {"status": "STOPPED", "values": None}

    return Grid


def _folder(config: RunConfig, number: str) -> str:
    """Returns the folder of a trial."""
    return os.path.join(config.model_dir, f"trial_{number}")


def _best_step(config: RunConfig, number: str) -> int:
    """Returns the step of the model that a trial kept; 0 without one."""
    folder = run_folder.RunFolder(_folder(config, number))
    # Not eval_results.json, which the evaluate verb writes as well.
    results = folder.read("train_results.json") or {}
    return results.get("best_step") or results.get("steps", 0)


def is_smaller_better(metric: str) -> bool:
    """Returns whether a metric is a loss or an error."""
    return is_better(metric, 0.0, 1.0)


def table(metric: str, trials: list[Trial]) -> str:
    """Returns the trials as lines of text."""
    lines = [f"{'learning_rate':>14}{'batch_size':>12}{metric:>20}{'step':>8}"]
    for trial in trials:
        value = "diverged" if trial.value is None else f"{trial.value:.4f}"
        lines.append(
            f"{trial.learning_rate:>14.3g}{trial.batch_size:>12}"
            f"{value:>20}{trial.best_step:>8}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    define()
    flags.run(main)
