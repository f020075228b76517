"""Predictions of a task as JSON values."""

from tfllm.outputs.predictions import Predictions
from tfllm.prediction.kinds import labelled_kind
from tfllm.prediction.record_results import Result


def results(predictions: Predictions, top_k: int = 5) -> list[Result]:
    """Returns the result of each record.

    Args:
        predictions: Predictions of a task.
        top_k: Answers to a question at most.
    """
    task = predictions.task
    to_result = labelled_kind(task).result
    pairs = zip(predictions.records, predictions.outputs, strict=True)
    return [
        {"id": record.id, **to_result(task, record, output, top_k)}
        for record, output in pairs
    ]
