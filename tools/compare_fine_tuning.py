r"""Runs the recipe of a flag file in tfllm and in Transformers, beside it.

    python -m tools.compare_fine_tuning --seeds=1,2,3 \
        --flagfile=configs/bert_minilm_trec_classification.flags

trains once per side and seed, and prints the held-out figures, their mean and
deviation. Data, model folder, batch size, steps, learning rates, decay,
clipping, dropout and batches of texts of about one length are the same on both
sides; tokenizers, batches, model, optimizer and the reading of the outputs
are each side's own (`tools/peers/transformers_recipe.py`). Each run leaves a
JSON in --output_dir: the same command, or that of another flag file, goes on
from there and prints what there is; results of other settings are refused.
Transformers gets a virtual environment of its own on first use, as in
tools/benchmark.py.
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

import tfllm.lean_keras  # noqa: F401

# isort: split
from absl import flags as absl_flags

from tfllm import flags, train_flags
from tfllm.run_config import RunConfig
from tfllm.training import run_folder
from tools.peers import environments, recipes
from tools.peers.sides import OURS, REPOSITORY, SIDES

FLAGS = absl_flags.FLAGS
PEER = "transformers"
COMPARED = (OURS, PEER)
TABLE_FILE = "table.md"


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """What is run, and where.

    Args:
        sides: Some of COMPARED.
        pythons: Side -> interpreter.
        output_dir: Folder of the results and the runs.
        run_with: Begins the command of each run, such as `nice -n 19`.
        threads: Cores that a run may use.
    """

    sides: tuple[str, ...]
    pythons: dict[str, str]
    output_dir: pathlib.Path
    run_with: tuple[str, ...]
    threads: int


def define() -> None:
    """Defines the flags."""
    train_flags.define()
    group = flags.Group("Comparison")
    group.string("side", ",".join(COMPARED), "Who takes part.")
    group.string(
        "transformers_python",
        "",
        "Interpreter with torch and transformers, instead of an environment "
        "made for it.",
    )
    group.string(
        "env_dir",
        str(REPOSITORY / ".benchmark" / "envs"),
        "Folder of that environment.",
    )
    group.string(
        "output_dir",
        str(REPOSITORY / ".benchmark" / "fine_tuning"),
        "Folder of results and runs.",
    )
    group.string("run_with", "", "Begins the command of each run: nice -n 19.")
    group.integer("threads", 2, "Cores that a run may use.")


def main() -> None:
    """Runs what is missing; prints the table of all that is there."""
    run_config = train_flags.read()
    config = read_config()
    run_missing(run_config, config)
    found = table(read_results(config.output_dir))
    (config.output_dir / TABLE_FILE).write_text(found, encoding="utf-8")
    print(found)


def read_config() -> CompareConfig:
    """Returns what the flags say, with an environment for the peer."""
    sides = tuple(part for part in FLAGS.side.split(",") if part)
    for side in sides:
        if side not in COMPARED:
            raise ValueError(
                f"`side` must be some of {', '.join(COMPARED)}. "
                f"Received: {side}"
            )
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
    """Trains all sides and seeds whose results are not there.

    Args:
        run_config: The recipe; its folder names it.
        config: Where things are.

    Raises:
        ValueError: Results of the recipe are of other settings.
    """
    name = os.path.basename(os.path.normpath(run_config.model_dir))
    check_results(name, run_config, config.output_dir)
    # A seed at a time, so that a comparison stopped early has both sides.
    for seed in run_config.seed_list or (run_config.seed,):
        for side in config.sides:
            if not (config.output_dir / f"{name}.{side}.{seed}.json").exists():
                run_cell(name, side, seed, run_config, config)


def check_results(
    name: str, run_config: RunConfig, folder: pathlib.Path
) -> None:
    """Raises ValueError if results of a recipe are of other settings.

    Args:
        name: Of the recipe.
        run_config: The recipe.
        folder: --output_dir.
    """
    for result in read_results(folder):
        if result["recipe"] != name:
            continue
        own = dataclasses.replace(run_config, seed=result["seed"], seeds="")
        differing = run_folder.differences(result["settings"], own.settings)
        if differing:
            path = folder / f"{name}.{result['side']}.{result['seed']}.json"
            raise ValueError(
                f"{path} is a result of other settings; give another "
                "`output_dir`, or delete it and the folder of its run. "
                "Received: " + "; ".join(differing)
            )


def run_cell(
    name: str,
    side: str,
    seed: int,
    run_config: RunConfig,
    config: CompareConfig,
) -> None:
    """Trains one side with one seed, and writes its result.

    Args:
        name: Of the recipe.
        side: One of COMPARED.
        seed: The seed.
        run_config: The recipe.
        config: Where things are.
    """
    result = config.output_dir / f"{name}.{side}.{seed}.json"
    config.output_dir.mkdir(parents=True, exist_ok=True)
    own = dataclasses.replace(
        run_config,
        seed=seed,
        seeds="",
        model_dir=str(config.output_dir / "runs" / f"{name}.{side}.{seed}"),
    )
    print(f"{name}: {side}, seed {seed}", file=sys.stderr, flush=True)
    began = time.perf_counter()
    figures = RUN[side](own, config)
    content = {
        "recipe": name,
        "side": side,
        "seed": seed,
        "seconds": round(time.perf_counter() - began, 1),
        "figures": figures,
        "settings": own.settings,
    }
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(result)


def run_ours(run_config: RunConfig, config: CompareConfig) -> dict[str, float]:
    """Trains with the train verb; returns the figures of its folder."""
    defaults = {f.name: f.default for f in dataclasses.fields(RunConfig)}
    arguments = [
        f"--{flag}={value}"
        for flag, value in run_config.values.items()
        if value != defaults[flag]
    ]
    _run([config.pythons[OURS], "-m", "tfllm.train", *arguments], config)
    path = pathlib.Path(run_config.model_dir) / "eval_results.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    return {n: values[n] for n in recipes.FIGURES[run_config.task]}


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
    """Runs a command here; its output goes to standard error.

    NOTE: here, since the paths of flag files are relative.
    """
    found = environments.child_environment(config.threads)
    subprocess.run(
        [*config.run_with, *command],
        env={**found, "PYTHONPATH": str(REPOSITORY)},
        stdout=sys.stderr,
        check=True,
    )


def read_results(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the results of all runs in a folder.

    Args:
        folder: --output_dir.
    """
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    ]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Returns a Markdown table: a line per recipe and figure.

    Args:
        results: Those of runs.
    """
    lines = [
        f"| recipe | figure | {' | '.join(COMPARED)} |",
        "|---|---|" + "---|" * len(COMPARED),
    ]
    for name in dict.fromkeys(result["recipe"] for result in results):
        own = [result for result in results if result["recipe"] == name]
        for figure in own[0]["figures"]:
            cells = [
                _cell([r["figures"][figure] for r in own if r["side"] == side])
                for side in COMPARED
            ]
            lines.append(f"| {name} | {figure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    """Returns mean, deviation of a sample, and the values."""
    if not values:
        return "-"
    shown = ", ".join(f"{value:.4f}" for value in values)
    if len(values) == 1:
        return shown
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    return f"{mean:.4f} ± {deviation:.4f} ({shown})"


if __name__ == "__main__":
    define()
    flags.run(main)
