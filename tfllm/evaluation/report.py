"""Adds intervals, tables and charts to the figures of labelled data."""

import os
from typing import Any

from tfllm.evaluation.bootstrap import bootstrap_intervals
from tfllm.evaluation.figures import Evaluated

# Charts are written to OUTPUT_DIR/eval_*.png.
PREFIX = "eval_"


def report(
    evaluated: Evaluated, output_dir: str, num_samples: int, seed: int
) -> dict[str, Any]:
    """Draws the charts, and returns what the results file adds to figures.

    Args:
        evaluated: The figures of a task.
        output_dir: Existing folder for the charts.
        num_samples: Samples of the bootstrap; 0 for no intervals.
        seed: Seed of the bootstrap.

    Returns:
        `examples`, the number of records; `intervals`, 95 % confidence
        intervals of the main figures by name; `charts`, file names; and the
        tables of the kind of task.
    """
    figures = evaluated.figures
    content: dict[str, Any] = {"examples": evaluated.num_records}
    if num_samples:
        intervals = bootstrap_intervals(
            figures.sample, evaluated.num_records, num_samples, seed=seed
        )
        content["intervals"] = {k: list(v) for k, v in intervals.items()}
    paths = figures.draw(os.path.join(output_dir, PREFIX))
    content["charts"] = [os.path.basename(path) for path in paths]
    return {**content, **figures.details()}
