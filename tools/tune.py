r"""Searches for the best learning rate and batch size of a run.

    python -m tools.tune \
        --flagfile=configs/bert_minilm_trec_classification.flags \
        --model_dir=runs/trec_search --best_metric=accuracy \
        --learning_rates=5e-5,1e-4,2e-4 --batch_sizes=16,32

It takes all flags of the train verb. Trials are compared by --best_metric on
--eval_files. Each trial is a run in a subfolder of --model_dir. The same
command resumes an interrupted search, even in the middle of a trial. At the end
it prints a table and writes tune_results.json and tune.png to --model_dir.
Needs KerasTuner: pip install 'tfllm[tune]'.
"""

import contextlib
import dataclasses
import itertools
import math
import os
import sys
from typing import Any

from tfllm.runs import flags
from tools import tune_flags

if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(tune_flags.define, tune_flags.read)

import tfllm.lean_keras  # noqa: F401

# isort: split
import keras

from tfllm import train
from tfllm.evaluation import charts
from tfllm.runs import starting_point
from tfllm.runs.run_config import RunConfig
from tfllm.training import run_folder, trainer
from tfllm.training.callbacks import is_better
from tools.tune_flags import SearchConfig

RESULTS_FILE = "tune_results.json"
CHART_FILE = "tune.png"


@dataclasses.dataclass(frozen=True)
class Trial:
    """A run of the search.

    Attributes:
        number: Number in the name of its folder.
        learning_rate: Learning rate.
        batch_size: Batch size.
        value: Best value of the metric; None if the run diverged.
        best_step: Step of that value.
    """

    number: str
    learning_rate: float
    batch_size: int
    value: float | None
    best_step: int


def main() -> None:
    """Searches and prints the table of trials."""
    config, search = tune_flags.read(starting_point.pair_objective)
    train.set_up_logging()
    try:
        trials = run(config, search)
    except trainer.Terminated as stop:
        print(stop, file=sys.stderr)
        # As the shell reports a program that the signal killed.
        sys.exit(128 + stop.number)
    print(table(config.trainer.best_metric, trials))
    print(f"Results: {os.path.join(config.model_dir, RESULTS_FILE)}")


def run(config: RunConfig, search: SearchConfig) -> list[Trial]:
    """Runs the remaining trials and writes the results of all trials.

    Args:
        config: Config of the runs; `model_dir` is the folder of the search.
        search: Config of the search.

    Returns:
        The trials, best first.
    """
    settings = {**config.settings, **dataclasses.asdict(search)}
    with contextlib.closing(run_folder.RunFolder(config.model_dir)) as folder:
        folder.open(settings, config.overwrite)
        folder.start(settings, config.values, config.overwrite)
        trials = _search(config, search)
        folder.write(
            RESULTS_FILE,
            {
                "best_metric": config.trainer.best_metric,
                "trials": [dataclasses.asdict(trial) for trial in trials],
                **run_folder.environment(),
            },
        )
    sizes = sorted({trial.batch_size for trial in trials})
    charts.write_search(
        os.path.join(config.model_dir, CHART_FILE),
        "learning rate",
        config.trainer.best_metric,
        {
            f"batch size {size}": sorted(
                (trial.learning_rate, trial.value)
                for trial in trials
                if trial.batch_size == size and trial.value is not None
            )
            for size in sizes
        },
    )
    return trials


def _search(config: RunConfig, search: SearchConfig) -> list[Trial]:
    """Runs the trials; returns them best first, diverged ones last."""
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
            # Clears the state of the previous run, including layer names.
            keras.utils.clear_session()
            try:
                result = train.run(
                    config.replace(
                        model_dir=_folder(config, trial.trial_id),
                        learning_rate=values["learning_rate"],
                        batch_size=values["batch_size"],
                    )
                )
            except FloatingPointError as error:
                raise keras_tuner.errors.FailedTrialError(str(error)) from error
            except Exception as error:
                # Any other error would occur in each trial.
                raise keras_tuner.errors.FatalError(str(error)) from error
            return {
                config.trainer.best_metric: result[
                    f"eval_{config.trainer.best_metric}"
                ]
            }

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
    worst = (
        math.inf if is_smaller_better(config.trainer.best_metric) else -math.inf
    )
    return sorted(
        trials,
        key=lambda trial: worst if trial.value is None else trial.value,
        reverse=worst < 0,
    )


def _oracle(config: RunConfig, search: SearchConfig, keras_tuner: Any) -> Any:
    """Returns the oracle, which chooses the trials."""
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
    smaller = is_smaller_better(config.trainer.best_metric)
    return oracles[search.search](
        objective=keras_tuner.Objective(
            config.trainer.best_metric, "min" if smaller else "max"
        ),
        max_trials=search.trials,
        hyperparameters=space,
        tune_new_entries=False,
        allow_new_entries=False,
        # Any number of trials may diverge.
        max_consecutive_failed_trials=search.trials + 1,
        seed=config.seed + 1,
    )


def _grid_oracle(keras_tuner: Any) -> type:
    """Returns the oracle that tries all combinations of choices.

    NOTE: KerasTuner's own grid oracle loses its place when its process ends.
    """

    class Grid(keras_tuner.Oracle):
        """Chooses the first combination without a trial."""

        def populate_space(self, trial_id: str) -> dict[str, Any]:
            """Returns the values of the next trial, or that none is left."""
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
    """Returns the best step of a trial; 0 without a result."""
    folder = run_folder.RunFolder(_folder(config, number))
    # eval_results.json may come from the evaluate verb instead.
    results = folder.read_if_whole("train_results.json") or {}
    return results.get("best_step") or results.get("steps", 0)


def is_smaller_better(metric: str) -> bool:
    """Whether smaller values of a metric are better."""
    return is_better(metric, 0.0, 1.0)


def table(metric: str, trials: list[Trial]) -> str:
    """Returns the trials as a table."""
    lines = [f"{'learning_rate':>14}{'batch_size':>12}{metric:>20}{'step':>8}"]
    for trial in trials:
        value = "diverged" if trial.value is None else f"{trial.value:.4f}"
        lines.append(
            f"{trial.learning_rate:>14.3g}{trial.batch_size:>12}"
            f"{value:>20}{trial.best_step:>8}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    flags.run(main)
