"""Predictions and figures of the tasks of language understanding.

Training and the evaluate verb both call `evaluate_labelled`, so a model has
the same figures in both.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.records.record import Record
from tfllm.evaluation.embedding_figures import EmbeddingFigures
from tfllm.evaluation.figures import Figures
from tfllm.evaluation.label_figures import (
    ChoiceFigures,
    LabelFigures,
    NumberFigures,
    SeveralLabelFigures,
)
from tfllm.evaluation.pooling import POOLS, Arrays, Pool
from tfllm.evaluation.predictions import Predictions
from tfllm.evaluation.span_figures import AnswerFigures, TagFigures
from tfllm.tasks import Task

# Where a task keeps its compiled forward pass.
_FORWARD = "labelled_forward"

# A batch (x, y, sample_weight) -> outputs, and by objective sums and weights.
ForwardPass = Callable[..., tuple[Arrays, Any, Any]]


# Kind of task -> its figures.
FIGURES: dict[str, type[Figures]] = {
    "classification": LabelFigures,
    "multi_label": SeveralLabelFigures,
    "regression": NumberFigures,
    "tagging": TagFigures,
    "question_answering": AnswerFigures,
    "embedding": EmbeddingFigures,
    "multiple_choice": ChoiceFigures,
}


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A task on labelled data.

    Attributes:
        values: Means of the task's own losses and measures; its figures.
        figures: What made them.
        num_records: Number of records.
    """

    values: dict[str, float]
    figures: Figures
    num_records: int


class Forward:
    """The forward pass of a task on batches of arrays, compiled once.

    NOTE: on several replicas each computes the whole batch: the outputs are
    needed in one place, and evaluation is short.

    Args:
        task: Any.
    """

    def __init__(self, task: Task) -> None:
        """See the class."""
        self._task = task
        self._functions: dict[Any, Any] = {}

    @classmethod
    def of(cls, task: Task) -> "Forward":
        """Returns that of a task; it is made once."""
        if not hasattr(task, _FORWARD):
            setattr(task, _FORWARD, cls(task))
        return getattr(task, _FORWARD)

    def __call__(self, *batch: Arrays) -> tuple[Arrays, Any, Any]:
        """Returns outputs, and by objective sums and total weights.

        Args:
            *batch: x, y and sample_weight; the last two may be empty.
        """
        structure = [
            tuple((name, part[name].ndim) for name in sorted(part))
            for part in batch
        ]
        key = tuple(structure)
        if key not in self._functions:
            self._functions[key] = self._compile(batch)
        return tf.nest.map_structure(
            lambda value: value.numpy(),
            self._functions[key](*tf.nest.map_structure(tf.constant, batch)),
        )

    def _compile(self, batch: tuple[Arrays, ...]) -> Any:
        """Returns the function for batches of these names and ranks.

        All sizes are left open: one graph, whatever batch came first, gives
        the same numbers in training and in the evaluate verb.
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
    """The forward pass of a task that something else computes: an export.

    Args:
        task: Says what the outputs are worth.
        run: x of a batch -> the outputs that the task would give.
    """

    def __init__(self, task: Task, run: Callable[[Arrays], Arrays]) -> None:
        """See the class."""
        self._task, self._run = task, run

    def __call__(self, x: Arrays, y: Arrays, weights: Arrays) -> Any:
        """Returns what Forward does."""
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
) -> Predictions:
    """Returns what a task says about the records of data.

    Args:
        task: Of the kind of the data.
        data: With or without gold labels.
        max_steps: Batches at most.
        forward: Takes the place of the task's own forward pass.
        make_pool: Takes the place of that in POOLS.
    """
    forward = forward or Forward.of(task)
    pool = (make_pool or POOLS[task.kind])(data.records, task.kind)
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


def measure(
    task: Task,
    data: LabelledData,
    max_steps: int | None = None,
    tune: bool = True,
    forward: ForwardPass | None = None,
) -> Evaluated:
    """Returns all that can be said about a task on labelled data.

    Args:
        task: Of the kind of the data.
        data: With gold labels.
        max_steps: Batches at most; 0 or None: all.
        tune: For question answering, whether to set the task's
            `null_threshold` to the best one on these data.
        forward: Takes the place of the task's own forward pass.
    """
    predictions = predict(task, data, max_steps or None, forward)
    figures = FIGURES[task.kind](predictions, tune)
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
        before_batch: Called before each; may raise to break off.

    Returns:
        The means of the task's own losses and measures, and the values of
        its Figures.
    """

    def forward(*batch: Arrays) -> tuple[Arrays, Any, Any]:
        before_batch()
        return Forward.of(task)(*batch)

    return measure(task, data, max_steps, tune, forward).values


def has_losses(task: Task, records: Sequence[Record]) -> bool:
    """Returns whether the losses of a task say something about records.

    Pairs have labels without gold, the numbers of their rows: they are no
    similarities.
    """
    is_similarity = getattr(task, "loss_kind", "") == "similarity"
    return not is_similarity or records[0].gold is not None


def metric_names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
    """Returns the names that `evaluate_labelled` gives, sorted.

    Args:
        task: Any.
        records: All that are evaluated, with gold labels.
    """
    own = []
    if has_losses(task, records):
        own.append("loss")
        for name in task.objectives:
            own += [f"{name}_loss", f"{name}_{task.measure_of(name)}"]
    return tuple(sorted({*own, *FIGURES[task.kind].names(task, records)}))
