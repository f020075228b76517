"""Chart of the losses of a run, in its folder."""

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfllm.evaluation import charts

logger = logging.getLogger(__name__)

CHART_FILE = "loss.png"


def draw(model_dir: str, unit: str = "nats") -> None:
    """Writes `loss.png` from the log of a run.

    Errors are logged, not raised: a chart must not end a run.

    Args:
        model_dir: Folder of the run.
        unit: Unit of the loss.
    """
    try:
        lines = read_log(os.path.join(model_dir, "logs"))
        if any("loss" in line for line in lines):
            charts.write_loss_curve(
                os.path.join(model_dir, CHART_FILE),
                points(lines, "loss"),
                points(lines, "eval_loss"),
                points(lines, "learning_rate"),
                f"loss ({unit})",
            )
    except Exception as error:
        logger.warning("%s was not drawn: %s", CHART_FILE, error)


def read_log(log_dir: str) -> list[dict[str, Any]]:
    """Returns the complete lines of `log.jsonl`, or [] without the file."""
    path = os.path.join(log_dir, "log.jsonl")
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        # A kill may have cut off the last line.
        return [json.loads(line) for line in file if line.endswith("\n")]


def points(
    lines: Sequence[dict[str, Any]], name: str
) -> list[tuple[int, float]]:
    """Returns (step, value) of the lines that have the value."""
    return [(line["step"], line[name]) for line in lines if name in line]
