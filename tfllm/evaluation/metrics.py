"""Figures of classification, regression and similarity, by scikit-learn.

Undefined figures have the value of guessing: 0 for the correlation with a
constant, 0.5 for the area under the curve of a single class. scikit-learn is
imported where it is used, as the import takes a second.
"""

from collections.abc import Sequence

import numpy as np

# Figures by name.
Values = dict[str, float]

# Names of the figures of regression.
REGRESSION = (
    "mean_squared_error",
    "mean_absolute_error",
    "pearson",
    "spearman",
)


def classification_metrics(
    gold: np.ndarray, probabilities: np.ndarray
) -> Values:
    """Returns the figures of single-label classification.

    Args:
        gold: int [N], right labels.
        probabilities: float [N, L].

    Returns:
        `accuracy`, `matthews`, `auc` (of the second of two labels, else the
        mean over each label against the rest), and `precision`, `recall` and
        `f1` as `macro_*`, `micro_*` and `weighted_*` means over the labels
        in `gold` or in the predictions. With two labels also those of the
        second, without a prefix.
    """
    from sklearn import metrics

    num_labels = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    values = {
        "accuracy": metrics.accuracy_score(gold, predicted),
        "matthews": 0.0,
        "auc": _areas_under_curve(
            np.eye(num_labels, dtype=bool)[gold], probabilities
        )
        if num_labels != 2
        else _areas_under_curve(gold[:, None] == 1, probabilities[:, 1:]),
    }
    if np.ptp(gold) and np.ptp(predicted):
        values["matthews"] = metrics.matthews_corrcoef(gold, predicted)
    for average in ("macro", "micro", "weighted"):
        values |= averages(gold, predicted, average, prefix=f"{average}_")
    if num_labels == 2:
        values |= averages(gold, predicted, "binary")
    return _as_floats(values)


def multi_label_metrics(gold: np.ndarray, predicted: np.ndarray) -> Values:
    """Returns the figures of multi-label classification.

    Args:
        gold: bool [N, L].
        predicted: float [N, L], probabilities; labels count from 0.5 on.

    Returns:
        `subset_accuracy` (all labels of an example right), `accuracy` (of
        single decisions), `auc` (the mean over labels), and `precision`,
        `recall` and `f1` as `macro_*`, `micro_*` and `samples_*` means.
    """
    from sklearn import metrics

    gold = gold.astype(bool)
    decided = predicted >= 0.5
    values = {
        "subset_accuracy": metrics.accuracy_score(gold, decided),
        "accuracy": (gold == decided).mean(),
        "auc": _areas_under_curve(gold, predicted),
    }
    labels = range(gold.shape[1])
    if len(labels) == 1:
        # scikit-learn would read a single column as two classes.
        gold, decided = (np.pad(x, ((0, 0), (0, 1))) for x in (gold, decided))
    for average in ("macro", "micro", "samples"):
        values |= averages(gold, decided, average, f"{average}_", labels)
    return _as_floats(values)


def regression_metrics(gold: np.ndarray, predicted: np.ndarray) -> Values:
    """Returns the figures of regression: mean errors and correlations.

    Args:
        gold: float [N].
        predicted: float [N].

    Returns:
        `mean_squared_error`, `mean_absolute_error`, `pearson`, `spearman`.
    """
    from scipy import stats
    from sklearn import metrics

    gold = np.asarray(gold, "float64")
    predicted = np.asarray(predicted, "float64")
    values = {
        "mean_squared_error": metrics.mean_squared_error(gold, predicted),
        "mean_absolute_error": metrics.mean_absolute_error(gold, predicted),
        "pearson": 0.0,
        "spearman": 0.0,
    }
    if np.ptp(gold) and np.ptp(predicted):
        values["pearson"] = stats.pearsonr(gold, predicted).statistic
        values["spearman"] = stats.spearmanr(gold, predicted).statistic
    return _as_floats(values)


def averages(
    gold: np.ndarray,
    predicted: np.ndarray,
    average: str,
    prefix: str = "",
    labels: Sequence[int] | None = None,
) -> Values:
    """Returns precision, recall and F1 as scikit-learn averages them.

    Args:
        gold: int [N], or bool [N, L].
        predicted: As `gold`.
        average: "macro", "micro", "weighted", "samples" or "binary".
        prefix: Prefix of the names.
        labels: Labels to average over; None for all that occur.
    """
    from sklearn import metrics

    scores = metrics.precision_recall_fscore_support(
        gold, predicted, labels=labels, average=average, zero_division=0.0
    )
    keys = ("precision", "recall", "f1")
    return {
        f"{prefix}{key}": float(score)
        for key, score in zip(keys, scores[:3], strict=True)
    }


def per_label(
    gold: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> dict[str, Values]:
    """Returns precision, recall, F1 and support of each label.

    Args:
        gold: int [N], or bool [N, L].
        predicted: As `gold`.
        names: Names of the labels.
    """
    from sklearn import metrics

    table = metrics.precision_recall_fscore_support(
        gold, predicted, labels=range(len(names)), zero_division=0.0
    )
    keys = ("precision", "recall", "f1", "support")
    return by_row(names, keys, table)


def by_row(
    names: Sequence[str], keys: Sequence[str], columns: Sequence[np.ndarray]
) -> dict[str, Values]:
    """Returns a table as figures by the name of each row.

    Args:
        names: Names of the rows, R.
        keys: Names of the columns.
        columns: Float [R] each.
    """
    return {
        name: {
            key: float(column[i])
            for key, column in zip(keys, columns, strict=True)
        }
        for i, name in enumerate(names)
    }


def confusion(
    gold: np.ndarray, predicted: np.ndarray, num_labels: int
) -> np.ndarray:
    """Returns the confusion matrix, int [L, L]: gold by predicted label."""
    counts = np.bincount(gold * num_labels + predicted, minlength=num_labels**2)
    return counts.reshape(num_labels, num_labels)


def _areas_under_curve(gold: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean area under the ROC curve over columns.

    Columns that are all true or all false have no curve, and are left out.

    Args:
        gold: bool [N, L].
        scores: float [N, L].
    """
    from sklearn import metrics

    areas = [
        metrics.roc_auc_score(right, score)
        for right, score in zip(gold.T, scores.T, strict=True)
        if right.any() and not right.all()
    ]
    return float(np.mean(areas)) if areas else 0.5


def _as_floats(values: dict[str, float]) -> Values:
    """Returns the values as Python floats, for JSON."""
    return {name: float(value) for name, value in values.items()}
