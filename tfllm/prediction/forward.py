"""Runs a task over labelled data and pools the outputs per record."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.records.record import Record
from tfllm.outputs.answers import N_BEST
from tfllm.outputs.predictions import Predictions
from tfllm.prediction.kinds import labelled_kind
from tfllm.prediction.pooling import Arrays, Pool
from tfllm.tasks import Task

# Attribute of a task that caches its compiled forward pass.
_FORWARD = "labelled_forward"

# Batch (x, y, sample_weight) -> outputs, and by objective sums and weights.
ForwardPass = Callable[..., tuple[Arrays, Any, Any]]


class Forward:
    """Compiled forward pass of a task on batches of NumPy arrays.

    NOTE: with several replicas, each one computes the whole batch: outputs
    are needed in one place, and evaluation is short.

    Args:
        task: The task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        # By the names and ranks of a batch.
        self._functions: dict[tuple[Any, ...], Callable[..., Any]] = {}

    @classmethod
    def of(cls, task: Task) -> "Forward":
        """Returns the forward pass of a task, created once per task."""
        if not hasattr(task, _FORWARD):
            setattr(task, _FORWARD, cls(task))
        return getattr(task, _FORWARD)

    def __call__(self, *batch: Arrays) -> tuple[Arrays, Any, Any]:
        """Returns outputs, and by objective the sums and total weights.

        Args:
            *batch: x, y and sample_weight; the last two may be empty.
        """
        key = tuple(
            tuple((name, part[name].ndim) for name in sorted(part))
            for part in batch
        )
        if key not in self._functions:
            self._functions[key] = self._compile(batch)
        return tf.nest.map_structure(
            lambda value: value.numpy(),
            self._functions[key](*tf.nest.map_structure(tf.constant, batch)),
        )

    def _compile(self, batch: tuple[Arrays, ...]) -> Callable[..., Any]:
        """Compiles the forward pass for batches with these names and ranks.

        All sizes are dynamic. So there is one graph whatever batch comes
        first, and training and the evaluate verb give the same numbers.
        """
        strategy = self._task.distribute_strategy

        def forward(x: Any, y: Any, weights: Any) -> Any:
            outputs = self._task(x, training=False)
            sums = self._task.objective_sums(y, outputs, weights) if y else {}
            totals = {name: tf.reduce_sum(weights[name]) for name in y}
            return outputs, sums, totals

        def run(*parts: Any) -> Any:
            return tf.nest.map_structure(
                lambda value: strategy.experimental_local_results(value)[0],
                strategy.run(forward, args=parts),
            )

        return tf.function(
            run,
            input_signature=tf.nest.map_structure(
                lambda array: tf.TensorSpec(
                    [None] * array.ndim, tf.as_dtype(array.dtype)
                ),
                batch,
            ),
            autograph=False,
        )


class ForwardElsewhere:
    """Forward pass outside the task, such as that of an export.

    Args:
        task: Task that computes the losses of the outputs.
        run: x of a batch -> outputs, named as those of the task.
    """

    def __init__(self, task: Task, run: Callable[[Arrays], Arrays]) -> None:
        self._task, self._run = task, run

    def __call__(
        self, x: Arrays, y: Arrays, weights: Arrays
    ) -> tuple[Arrays, Any, Any]:
        """Returns outputs, and by objective the sums and total weights."""
        outputs = self._run(x)
        if not y:
            return outputs, {}, {}
        sums = self._task.objective_sums(
            *tf.nest.map_structure(tf.constant, (y, outputs, weights))
        )
        return outputs, sums, {name: weights[name].sum() for name in y}


def predict(
    task: Task,
    data: LabelledData,
    max_steps: int | None = None,
    forward: ForwardPass | None = None,
    make_pool: Callable[..., Pool] | None = None,
    n_best: int = N_BEST,
) -> Predictions:
    """Predicts the records of labelled data.

    Args:
        task: Task of the same kind as the data.
        data: Data with or without gold labels.
        max_steps: Batches at most.
        forward: Forward pass to use instead of that of the task.
        make_pool: Pool to use instead of that of the kind of task.
        n_best: Answers to keep per question, at least.
    """
    forward = forward or Forward.of(task)
    if make_pool is not None:
        pool = make_pool(data.records, task.kind)
    else:
        pool = labelled_kind(task).pool(data.records, task.kind, n_best)
    losses = dict.fromkeys(task.objectives, 0.0)
    measures, totals = dict(losses), dict(losses)
    rows = data.evaluation_rows(max_steps=max_steps)
    with_losses = has_losses(task, data.records)
    for x, y, weights, numbers, marks in rows:
        if not with_losses:
            y, weights = {}, {}
        outputs, sums, counts = forward(x, y, weights)
        pool.add(outputs, numbers, marks)
        for name in counts:
            losses[name] += float(sums[name][0])
            measures[name] += float(sums[name][1])
            totals[name] += float(counts[name])
    results = pool.results()
    means: dict[str, float] = {}
    if any(totals.values()):
        for name, total in totals.items():
            means[f"{name}_loss"] = losses[name] / total
            means[f"{name}_{task.measure_of(name)}"] = measures[name] / total
        means["loss"] = sum(
            task.share_of(name) * means[f"{name}_loss"] for name in totals
        )
    return Predictions(
        task,
        [data.records[number] for number in results],
        list(results.values()),
        means,
    )


def has_losses(task: Task, records: Sequence[Record]) -> bool:
    """Returns whether the losses of a task mean something for records.

    Not for pairs to embed without gold: their labels are row numbers, and no
    similarities.
    """
    reads_labels = any(target.is_read for target in task.targets().values())
    return not reads_labels or records[0].gold is not None
