"""The evaluation loop over batches."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfllm.tasks import Task
from tfllm.tasks.batches import distribute


def evaluate(
    task: Task,
    dataset: tf.data.Dataset,
    before_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Returns the means of a task's metrics over a dataset.

    The running means of training are restored afterwards.

    Args:
        task: A compiled task.
        dataset: Finite dataset of batches (x, y, sample_weight).
        before_batch: Called before each batch; may raise to stop.

    Raises:
        ValueError: The dataset is empty.
    """
    step = task.make_test_function()
    strategy = task.distribute_strategy
    saved = [
        (variable, variable.numpy())
        for metric in task.metrics
        for variable in metric.variables
    ]
    task.reset_metrics()
    logs: dict[str, Any] = {}
    iterator = iter(distribute(strategy, dataset))
    try:
        while True:
            before_batch()
            logs = step(iterator)
    except StopIteration:
        means = {name: float(value) for name, value in logs.items()}
    finally:
        for variable, value in saved:
            variable.assign(value)
    if not means:
        raise ValueError(
            "`eval_files` gave no batch. Received: an empty dataset"
        )
    return means
