r"""Fine-tunes with the same recipe in tfllm and in Transformers.

    python -m tools.compare_fine_tuning --seeds=1,2,3 \
        --flagfile=configs/bert_minilm_trec_classification.flags

Trains once per library and seed, and prints the held-out figures with mean and
deviation. Both libraries use the same data, model folder, batch size, steps,
learning rates, decay, clipping, dropout and grouping of texts by length. Each
uses its own tokenizer, batches, model, optimizer and reading of the outputs
(`tools/peers/transformers_recipe.py`). Each run writes a JSON file to
--output_dir. The same command resumes a comparison, the command of another flag
file adds to its table, and results of other settings are refused. Transformers
gets a virtual environment on first use, as in tools/benchmark.py.
"""

import dataclasses
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from tfllm.runs import flags
from tools import compare_fine_tuning_flags

if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(
        compare_fine_tuning_flags.define, compare_fine_tuning_flags.read
    )

import tfllm.lean_keras  # noqa: F401

# isort: split
from absl import flags as absl_flags

from tfllm.runs.run_config import RunConfig
from tfllm.training import run_folder
from tools.compare_fine_tuning_flags import COMPARED, PEER
from tools.peers import environments, recipes
from tools.peers.sides import OURS, REPOSITORY, SIDES

FLAGS = absl_flags.FLAGS
TABLE_FILE = "table.md"


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Config of a comparison.

    Args:
        sides: Some of COMPARED.
        pythons: Side -> Python interpreter.
        output_dir: Folder of the results and the runs.
        run_with: Prefix of the command of each run, such as `nice -n 19`.
        threads: Cores that a run may use.
    """

    sides: tuple[str, ...]
    pythons: dict[str, str]
    output_dir: pathlib.Path
    run_with: tuple[str, ...]
    threads: int


def main() -> None:
    """Trains the missing runs; prints the table of all results."""
    run_config, sides = compare_fine_tuning_flags.read()
    config = prepare(sides)
    run_missing(run_config, config)
    text = table(read_results(config.output_dir))
    (config.output_dir / TABLE_FILE).write_text(text, encoding="utf-8")
    print(text)


def prepare(sides: tuple[str, ...]) -> CompareConfig:
    """Returns the config from the flags; creates the peer's environment."""
    pythons = {OURS: sys.executable}
    if PEER in sides:
        pythons[PEER] = FLAGS.transformers_python or environments.ensure(
            SIDES[PEER], pathlib.Path(FLAGS.env_dir).absolute()
        )
    return CompareConfig(
        sides=sides,
        pythons=pythons,
        output_dir=pathlib.Path(FLAGS.output_dir).absolute(),
        run_with=tuple(shlex.split(FLAGS.run_with)),
        threads=FLAGS.threads,
    )


def run_missing(run_config: RunConfig, config: CompareConfig) -> None:
    """Trains all sides and seeds without a result.

    Args:
        run_config: The recipe, named by its model folder.
        config: Config of the comparison.

    Raises:
        ValueError: A result of this recipe has other settings.
    """
    name = os.path.basename(os.path.normpath(run_config.model_dir))
    check_results(name, run_config, config.output_dir)
    # Seed by seed, so that a comparison stopped early has both sides.
    for seed in run_config.seed_list or (run_config.seed,):
        for side in config.sides:
            if not (config.output_dir / f"{name}.{side}.{seed}.json").exists():
                run_cell(name, side, seed, run_config, config)


def check_results(
    name: str, run_config: RunConfig, folder: pathlib.Path
) -> None:
    """Raises ValueError if a result of the recipe has other settings.

    Args:
        name: Name of the recipe.
        run_config: The recipe.
        folder: Folder of the results.
    """
    for result in read_results(folder):
        if result["recipe"] != name:
            continue
        expected = run_config.replace(seed=result["seed"], seeds="")
        differing = run_folder.differences(
            result["settings"], expected.settings
        )
        if differing:
            path = folder / f"{name}.{result['side']}.{result['seed']}.json"
            raise ValueError(
                f"{path} is a result of other settings; set another "
                "`output_dir`, or move the file and the folder of its run. "
                "Received: " + "; ".join(differing)
            )


def run_cell(
    name: str,
    side: str,
    seed: int,
    run_config: RunConfig,
    config: CompareConfig,
) -> None:
    """Trains one side with one seed and writes its result.

    Args:
        name: Name of the recipe.
        side: One of COMPARED.
        seed: Seed of the run.
        run_config: The recipe.
        config: Config of the comparison.
    """
    result = config.output_dir / f"{name}.{side}.{seed}.json"
    config.output_dir.mkdir(parents=True, exist_ok=True)
    cell_config = run_config.replace(
        seed=seed,
        seeds="",
        model_dir=str(config.output_dir / "runs" / f"{name}.{side}.{seed}"),
    )
    print(f"{name}: {side}, seed {seed}", file=sys.stderr, flush=True)
    began = time.perf_counter()
    figures = RUN[side](cell_config, config)
    content = {
        "recipe": name,
        "side": side,
        "seed": seed,
        "seconds": round(time.perf_counter() - began, 1),
        "figures": figures,
        "settings": cell_config.settings,
    }
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(result)


def run_ours(run_config: RunConfig, config: CompareConfig) -> dict[str, float]:
    """Trains with the train verb; returns the figures of its folder."""
    defaults = RunConfig().values
    arguments = [
        f"--{flag}={value}"
        for flag, value in run_config.values.items()
        if value != defaults[flag]
    ]
    _run([config.pythons[OURS], "-m", "tfllm.train", *arguments], config)
    path = pathlib.Path(run_config.model_dir) / "eval_results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    return {name: results[name] for name in recipes.FIGURES[run_config.task]}


def run_theirs(
    run_config: RunConfig, config: CompareConfig
) -> dict[str, float]:
    """Trains in Transformers; returns the figures of its predictions."""
    recipe = recipes.from_run(run_config)
    folder = pathlib.Path(run_config.model_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    _run(
        [
            config.pythons[PEER],
            "-m",
            "tools.peers.transformers_recipe",
            str(folder / "recipe.json"),
            str(folder / "predictions.json"),
            str(config.threads),
        ],
        config,
    )
    path = folder / "predictions.json"
    predictions = json.loads(path.read_text(encoding="utf-8"))
    return recipes.figures(recipe, predictions)


RUN = {OURS: run_ours, PEER: run_theirs}


def _run(command: Sequence[str], config: CompareConfig) -> None:
    """Runs a command; its output goes to standard error.

    It runs in the current folder, because paths in flag files are relative.
    """
    environment = environments.child_environment(config.threads)
    subprocess.run(
        [*config.run_with, *command],
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        stdout=sys.stderr,
        check=True,
    )


def read_results(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the results of all runs.

    Args:
        folder: Folder of the results.
    """
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    ]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Returns a Markdown table: a line per recipe and figure.

    Args:
        results: Results of runs.
    """
    lines = [
        f"| recipe | figure | {' | '.join(COMPARED)} |",
        "|---|---|" + "---|" * len(COMPARED),
    ]
    for name in dict.fromkeys(result["recipe"] for result in results):
        runs = [result for result in results if result["recipe"] == name]
        for figure in runs[0]["figures"]:
            cells = [
                _cell([r["figures"][figure] for r in runs if r["side"] == side])
                for side in COMPARED
            ]
            lines.append(f"| {name} | {figure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(figures: Sequence[float]) -> str:
    """Formats a table cell: mean, standard deviation, value of each seed."""
    if not figures:
        return "-"
    shown = ", ".join(f"{figure:.4f}" for figure in figures)
    if len(figures) == 1:
        return shown
    mean, deviation = statistics.fmean(figures), statistics.stdev(figures)
    return f"{mean:.4f} ± {deviation:.4f} ({shown})"


if __name__ == "__main__":
    flags.run(main)
