"""Precision, recall and F1 over entities, computed by seqeval."""

import warnings

import numpy as np

from tfllm.evaluation.label_counts import named, scores_of_counts
from tfllm.evaluation.metrics import Values, by_row
from tfllm.outputs.entities import entities


def entity_metrics(gold: list[list[str]], predicted: list[list[str]]) -> Values:
    """Returns precision, recall and F1 over entities.

    Args:
        gold: Right tags of each text.
        predicted: Predicted tags of each text, of the same lengths.

    Returns:
        `precision`, `recall` and `f1` over all entities, and their unweighted
        means over entity types as `macro_*`.
    """
    figures: Values = {}
    for average, prefix in (("micro", ""), ("macro", "macro_")):
        precision, recall, f1 = _scores(gold, predicted, average)[:3]
        figures[f"{prefix}precision"] = float(precision)
        figures[f"{prefix}recall"] = float(recall)
        figures[f"{prefix}f1"] = float(f1)
    return figures


def per_entity_type(
    gold: list[list[str]], predicted: list[list[str]]
) -> dict[str, Values]:
    """Returns precision, recall, F1 and support of each entity type."""
    kinds = sorted(
        {kind for tags in (*gold, *predicted) for kind, _, _ in entities(tags)}
    )
    table = _scores(gold, predicted, None)
    keys = ("precision", "recall", "f1", "support")
    return by_row(kinds, keys, table)


def entity_counts(
    gold: list[list[str]], predicted: list[list[str]]
) -> np.ndarray:
    """Counts the right, predicted and gold entities of each text.

    Sums over rows give the figures of any set of texts. The bootstrap uses
    them, as seqeval would read all tags again for each sample.

    Returns:
        int [N, 3].
    """
    rows = []
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        right, answers = set(entities(gold_tags)), set(entities(predicted_tags))
        rows.append((len(right & answers), len(answers), len(right)))
    return np.array(rows, "int64").reshape(-1, 3)


def metrics_of_counts(counts: np.ndarray) -> Values:
    """Returns precision, recall and F1 over rows of `entity_counts`."""
    return named(scores_of_counts(*counts.sum(axis=0)))


def _scores(
    gold: list[list[str]], predicted: list[list[str]], average: str | None
) -> list[np.ndarray]:
    """Returns precision, recall, F1 and support, as seqeval averages them."""
    from seqeval.metrics.sequence_labeling import (
        precision_recall_fscore_support,
    )

    with warnings.catch_warnings():
        # Without any entity, NumPy warns about the mean of an empty array.
        warnings.simplefilter("ignore", RuntimeWarning)
        columns = precision_recall_fscore_support(
            gold, predicted, average=average, zero_division=0
        )
    return [np.nan_to_num(column) for column in columns if column is not None]
