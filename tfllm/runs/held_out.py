"""Figures of held-out data, for every kind of data."""

from typing import Any

from tfllm.data.open_data import Data
from tfllm.evaluation.evaluate import evaluate
from tfllm.evaluation.text_perplexity import text_perplexities
from tfllm.prediction import measure
from tfllm.tasks import Task
from tfllm.training.trainer import Evaluate


def evaluation(task: Task, data: Data, max_steps: int = 0) -> Evaluate:
    """Returns the function that evaluates a task on held-out data.

    Args:
        task: Compiled task.
        data: Held-out data of its kind.
        max_steps: Largest number of batches; 0 for all.
    """
    if data.is_labelled:
        return lambda before_batch: measure.evaluate_labelled(
            task, data, max_steps, before_batch=before_batch
        )
    batches = data.evaluation_dataset(max_steps=max_steps or None)
    return lambda before_batch: evaluate(task, batches, before_batch)


def metric_names(task: Task, data: Data | None) -> tuple[str, ...]:
    """Returns the names of the figures that an evaluation gives.

    Args:
        task: Task.
        data: Held-out data; only a labelled task needs it.
    """
    if data is not None and data.is_labelled:
        return measure.metric_names(task, data.records)
    return tuple(metric.name for metric in task.metrics)


def with_text_figures(
    values: dict[str, float], data: Data, max_steps: int = 0
) -> dict[str, float]:
    """Returns figures with the perplexities per word and byte of the text.

    Args:
        values: Figures of an evaluation.
        data: Its data.
        max_steps: As in `evaluation`.
    """
    # The counts are those of the whole text.
    if data.counts is None or max_steps:
        return values
    return values | text_perplexities(values["clm_loss"], data.counts)


def notes(data: Data | None) -> dict[str, Any]:
    """Returns the entries of eval_results.json that are not figures.

    Args:
        data: Held-out data, or None.
    """
    entries: dict[str, Any] = {}
    if data is None or not data.is_labelled:
        return entries
    if data.skipped:
        entries["skipped_records"] = data.skipped
    if data.tag_scheme:
        entries["tag_scheme"] = data.tag_scheme.name
    return entries
