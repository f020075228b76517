"""What stands beside figures of labelled data: intervals, tables, charts."""

import os
from typing import Any

from tfllm.evaluation.bootstrap import bootstrap_intervals
from tfllm.evaluation.labelled import Evaluated

# Charts are OUTPUT_DIR/eval_*.png.
PREFIX = "eval_"


def report(
    found: Evaluated, output_dir: str, num_samples: int, seed: int
) -> dict[str, Any]:
    """Draws the charts; returns what goes into the JSON.

    Args:
        found: A task on labelled data.
        output_dir: Where the charts go; there already.
        num_samples: Of the bootstrap; 0: no intervals.
        seed: Of the bootstrap.

    Returns:
        `examples`, their number; `intervals`, 95 % confidence intervals of
        the main figures by name; `charts`, names of files; and the tables of
        the kind of task.
    """
    values: dict[str, Any] = {"examples": found.num_records}
    if num_samples:
        intervals = bootstrap_intervals(
            found.figures.sample, found.num_records, num_samples, seed=seed
        )
        values["intervals"] = {k: list(v) for k, v in intervals.items()}
    paths = found.figures.draw(os.path.join(output_dir, PREFIX))
    values["charts"] = [os.path.basename(path) for path in paths]
    return {**values, **found.figures.details()}
