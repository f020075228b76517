"""The same run with several seeds: each figure's mean and deviation."""

import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any

RESULTS_FILE = "seeds_results.json"
# Every run has these in its results, and they are no figures.
_NO_FIGURES = ("eval_steps", "eval_seed")


def run_seeds(
    seeds: Sequence[int],
    model_dir: str,
    run: Callable[[int, str], dict[str, Any]],
) -> dict[str, Any]:
    """Runs once per seed, in a folder each.

    Args:
        seeds: The seeds.
        model_dir: Folder of the folders `seed_1`, ...
        run: Called with seed and folder; trains, resumes or finds a finished
            run, and returns its results.

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
        results: What each seed gave; held-out figures begin with `eval_`.

    Returns:
        `seeds`: figures by seed; `mean` and `deviation` by figure, the
        latter of a sample (n - 1), 0 for one seed.
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
        if all(name in found for found in figures.values())
    ]
    columns = {
        name: [found[name] for found in figures.values()] for name in names
    }
    return {
        "seeds": {str(seed): found for seed, found in figures.items()},
        "mean": {n: statistics.fmean(v) for n, v in columns.items()},
        "deviation": {
            n: statistics.stdev(v) if len(v) > 1 else 0.0
            for n, v in columns.items()
        },
    }


def table(found: dict[str, Any]) -> str:
    """Returns a summary as lines of text, a figure each."""
    titles = [*(f"seed {seed}" for seed in found["seeds"]), "mean", "deviation"]
    width = max(len(name) for name in found["mean"])
    lines = [" " * width + "".join(f"{title:>12}" for title in titles)]
    for name, mean in found["mean"].items():
        values = [seed[name] for seed in found["seeds"].values()]
        values += [mean, found["deviation"][name]]
        lines.append(
            f"{name:<{width}}" + "".join(f"{value:>12.4f}" for value in values)
        )
    return "\n".join(lines)
