"""One run for each of several seeds: mean and deviation of the figures."""

import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any

RESULTS_FILE = "seeds_results.json"
# Entries of the results that are not figures.
_NO_FIGURES = ("eval_steps", "eval_seed")


def run_seeds(
    seeds: Sequence[int],
    model_dir: str,
    run: Callable[[int, str], dict[str, Any]],
) -> dict[str, Any]:
    """Runs once per seed, each in its own folder.

    Args:
        seeds: Seeds.
        model_dir: Folder of the folders `seed_1`, ...
        run: (seed, folder) -> results. Trains, resumes or finds a finished
            run.

    Returns:
        What `summary` returns.
    """
    return summary(
        {
            seed: run(seed, os.path.join(model_dir, f"seed_{seed}"))
            for seed in seeds
        }
    )


def summary(results: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Returns the held-out figures of several runs.

    Args:
        results: Seed -> results of its run, in which held-out figures begin
            with `eval_`.

    Returns:
        `seeds`, figures by seed; `mean` and `deviation` by figure. The
        deviation is that of a sample (n - 1), and 0 for one seed.
    """
    figures = {
        seed: {
            name.removeprefix("eval_"): float(value)
            for name, value in values.items()
            if name.startswith("eval_")
            and name not in _NO_FIGURES
            and isinstance(value, int | float)
        }
        for seed, values in results.items()
    }
    names = [
        name
        for name in next(iter(figures.values()))
        if all(name in of_seed for of_seed in figures.values())
    ]
    columns = {
        name: [of_seed[name] for of_seed in figures.values()] for name in names
    }
    return {
        "seeds": {str(seed): of_seed for seed, of_seed in figures.items()},
        "mean": {n: statistics.fmean(v) for n, v in columns.items()},
        "deviation": {
            n: statistics.stdev(v) if len(v) > 1 else 0.0
            for n, v in columns.items()
        },
    }


def table(figures: dict[str, Any]) -> str:
    """Returns the table of a summary, with a line per figure.

    Args:
        figures: What `summary` returned.
    """
    seeds = [f"seed {seed}" for seed in figures["seeds"]]
    titles = [*seeds, "mean", "deviation"]
    width = max(len(name) for name in figures["mean"])
    lines = [" " * width + "".join(f"{title:>12}" for title in titles)]
    for name, mean in figures["mean"].items():
        row = [of_seed[name] for of_seed in figures["seeds"].values()]
        row += [mean, figures["deviation"][name]]
        lines.append(
            f"{name:<{width}}" + "".join(f"{value:>12.4f}" for value in row)
        )
    return "\n".join(lines)
