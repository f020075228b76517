"""Evaluates tasks on labelled data.

Training and the evaluate verb share this code, so that a model has the same
figures in both.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.records.record import Record
from tfllm.evaluation.figures import Evaluated
from tfllm.prediction.forward import (
    Forward,
    ForwardPass,
    has_losses,
    predict,
)
from tfllm.prediction.kinds import labelled_kind
from tfllm.prediction.pooling import Arrays
from tfllm.tasks import Task


def measure(
    task: Task,
    data: LabelledData,
    max_steps: int | None = None,
    tune: bool = True,
    forward: ForwardPass | None = None,
) -> Evaluated:
    """Evaluates a task on labelled data.

    Args:
        task: Task of the same kind as the data.
        data: Data with gold labels.
        max_steps: Batches at most; 0 or None: all.
        tune: For question answering, whether to set `null_threshold` of the
            task to the best value on these data.
        forward: Forward pass to use instead of that of the task.

    Returns:
        The figures, and the object that draws charts and tables of them.
    """
    predictions = predict(task, data, max_steps or None, forward)
    figures = labelled_kind(task).figures(predictions, tune)
    return Evaluated(
        {**predictions.means, **figures.values()},
        figures,
        len(predictions.records),
    )


def evaluate_labelled(
    task: Task,
    data: LabelledData,
    max_steps: int | None = None,
    tune: bool = True,
    before_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Returns the figures of a task on labelled data.

    Args:
        task: As in `measure`.
        data: As in `measure`.
        max_steps: As in `measure`.
        tune: As in `measure`.
        before_batch: Called before each batch; may raise to stop.

    Returns:
        The mean losses and measures of the task, and its figures, by name.
    """

    def forward(*batch: Arrays) -> tuple[Arrays, Any, Any]:
        before_batch()
        return Forward.of(task)(*batch)

    return measure(task, data, max_steps, tune, forward).values


def metric_names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
    """Returns the names of the figures of `evaluate_labelled`, sorted.

    Args:
        task: The task.
        records: All records to evaluate, with gold labels.
    """
    means = []
    if has_losses(task, records):
        means.append("loss")
        for name in task.objectives:
            means += [f"{name}_loss", f"{name}_{task.measure_of(name)}"]
    figures = labelled_kind(task).figures.names(task, records)
    return tuple(sorted({*means, *figures}))
