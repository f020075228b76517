"""Figures of labels from counts and ranks, fast enough for the bootstrap.

They equal those of `metrics`, which computes them from all examples with
scikit-learn.
"""

import numpy as np

from tfllm.evaluation.figures import SCORES
from tfllm.evaluation.metrics import Values


class AreasUnderCurve:
    """Areas under the ROC curve for subsets of examples.

    Scores are ranked once, for all subsets.

    Args:
        gold: bool [N, L].
        scores: float [N, L].
    """

    def __init__(self, gold: np.ndarray, scores: np.ndarray) -> None:
        self._gold = gold
        self._ranks = np.stack(
            [np.unique(column, return_inverse=True)[1] for column in scores.T],
            axis=1,
        )  # [N, L]

    def mean(self, rows: np.ndarray) -> float:
        """Returns the mean area over labels.

        Labels that all of the examples have, or none, are left out.

        Args:
            rows: int [M], numbers of examples; they may repeat.

        Returns:
            The mean over labels of the probability that an example with the
            label scores higher than one without it, ties counting half; 0.5
            if no label is left.
        """
        areas = []
        for gold, ranks in zip(
            self._gold[rows].T, self._ranks[rows].T, strict=True
        ):
            size = ranks.max() + 1
            right = np.bincount(ranks[gold], minlength=size)
            wrong = np.bincount(ranks[~gold], minlength=size)
            if right.any() and wrong.any():
                below = np.cumsum(wrong) - 0.5 * wrong
                pairs = float(right.sum()) * float(wrong.sum())
                areas.append(float(right @ below) / pairs)
        return float(np.mean(areas)) if areas else 0.5


def scores_of_counts(
    right: np.ndarray, predicted: np.ndarray, gold: np.ndarray
) -> np.ndarray:
    """Returns precision, recall and F1, float [3, ...]; 0 for no examples.

    Args:
        right: Number of right predictions (true positives), [...].
        predicted: Number of predictions, [...].
        gold: Number of gold labels, [...].
    """
    return np.stack(
        [
            right / np.maximum(predicted, 1),
            right / np.maximum(gold, 1),
            2.0 * right / np.maximum(predicted + gold, 1),
        ]
    )


def named(scores: np.ndarray, prefix: str = "") -> Values:
    """Returns float [3] by the names of SCORES, each with a prefix."""
    return {
        f"{prefix}{name}": float(score)
        for name, score in zip(SCORES, scores, strict=True)
    }


def single_label_figures(confusion: np.ndarray) -> Values:
    """Returns the figures of single-label classification.

    Args:
        confusion: int [L, L], right label x predicted label.

    Returns:
        The figures of `metrics.classification_metrics`, without `auc`.
    """
    right, predicted = np.diag(confusion), confusion.sum(axis=0)
    gold, total = confusion.sum(axis=1), confusion.sum()
    scores = scores_of_counts(right, predicted, gold)  # [3, L]
    accuracy = right.sum() / total
    figures = {
        "accuracy": float(accuracy),
        "matthews": _matthews(right, predicted, gold),
        **named(scores[:, (predicted + gold) > 0].mean(axis=1), "macro_"),
        # With one label per example, all micro averages are the accuracy.
        **named(np.full(3, accuracy), "micro_"),
        **named(scores @ gold / total, "weighted_"),
    }
    if len(confusion) == 2:
        figures |= named(scores[:, 1])
    return figures


def _matthews(
    right: np.ndarray, predicted: np.ndarray, gold: np.ndarray
) -> float:
    """Returns Matthews' correlation; 0 if one side has a single label.

    Reference: Gorodkin, 2004 (the form for any number of labels).
    """
    predicted, gold = predicted.astype("float64"), gold.astype("float64")
    total = gold.sum()
    spread = (total**2 - predicted @ predicted) * (total**2 - gold @ gold)
    if spread <= 0.0:
        return 0.0
    return float((right.sum() * total - predicted @ gold) / np.sqrt(spread))
