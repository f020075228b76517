"""Figures of labels from counts and ranks, quick enough for the bootstrap.

They are those of `metrics`, which reads all examples with scikit-learn; here
a set of examples that were drawn again is counted.
"""

import numpy as np

from tfllm.evaluation.figures import SCORES
from tfllm.evaluation.metrics import Values


class AreasUnderCurve:
    """Areas under the ROC curve of any examples of a set.

    Args:
        gold: bool [N, L].
        scores: float [N, L].
    """

    def __init__(self, gold: np.ndarray, scores: np.ndarray) -> None:
        """Ranks the scores once."""
        self._gold = gold
        self._ranks = np.stack(
            [np.unique(column, return_inverse=True)[1] for column in scores.T],
            axis=1,
        )

    def mean(self, rows: np.ndarray) -> float:
        """Returns the mean over the labels that some have and some have not.

        Args:
            rows: int [M], numbers of examples; some may occur several times.

        Returns:
            The share of pairs of one example with a label and one without in
            which the first has the larger score, equal ones counting half;
            0.5 where there is no pair.
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
    right: np.ndarray, given: np.ndarray, gold: np.ndarray
) -> np.ndarray:
    """Returns precision, recall and F1, float [3, ...]; 0 where of nothing.

    Args:
        right: Number of right ones, [...].
        given: Number of those that were given, [...].
        gold: Number of those that are so, [...].
    """
    return np.stack(
        [
            right / np.maximum(given, 1),
            right / np.maximum(gold, 1),
            2.0 * right / np.maximum(given + gold, 1),
        ]
    )


def named(scores: np.ndarray, prefix: str = "") -> Values:
    """Returns float [3] by the names of SCORES."""
    return {
        f"{prefix}{name}": float(score)
        for name, score in zip(SCORES, scores, strict=True)
    }


def single_label_figures(confusion: np.ndarray) -> Values:
    """Returns the figures of one label per example.

    Args:
        confusion: int [L, L], right label x predicted label.

    Returns:
        What `metrics.classification_metrics` does, but for `auc`.
    """
    right, given = np.diag(confusion), confusion.sum(axis=0)
    gold, total = confusion.sum(axis=1), confusion.sum()
    scores = scores_of_counts(right, given, gold)
    accuracy = right.sum() / total
    figures = {
        "accuracy": float(accuracy),
        "matthews": _matthews(right, given, gold),
        **named(scores[:, (given + gold) > 0].mean(axis=1), "macro_"),
        # Each example has a label and is given one.
        **named(np.full(3, accuracy), "micro_"),
        **named(scores @ gold / total, "weighted_"),
    }
    if len(confusion) == 2:
        figures |= named(scores[:, 1])
    return figures


def _matthews(right: np.ndarray, given: np.ndarray, gold: np.ndarray) -> float:
    """Returns the correlation of Matthews; 0 with a constant.

    Reference: Gorodkin, 2004 (its form for any number of labels).
    """
    given, gold = given.astype("float64"), gold.astype("float64")
    total = gold.sum()
    spread = (total**2 - given @ given) * (total**2 - gold @ gold)
    if spread <= 0.0:
        return 0.0
    return float((right.sum() * total - given @ gold) / np.sqrt(spread))
