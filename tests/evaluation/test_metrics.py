"""Figures against ones worked out by hand."""

import numpy as np
import pytest

from tfllm.evaluation.bootstrap import bootstrap_intervals
from tfllm.evaluation.calibration import calibration
from tfllm.evaluation.metrics import (
    classification_metrics,
    multi_label_metrics,
    per_label,
    regression_metrics,
)
from tfllm.evaluation.retrieval import (
    cosine_similarities,
    retrieval_metrics,
    retrieval_ranks,
)


def test_three_labels() -> None:
    gold = np.array([0, 0, 1, 1, 2, 2])
    # Predicted: 0 1 1 1 2 0.
    scores = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.3, 0.6, 0.1],
            [0.1, 0.7, 0.2],
            [0.2, 0.5, 0.3],
            [0.1, 0.3, 0.6],
            [0.5, 0.1, 0.4],
        ]
    )
    values = classification_metrics(gold, scores)
    # By label: precision 1/2, 2/3, 1; recall 1/2, 1, 1/2.
    f1 = [1 / 2, 4 / 5, 2 / 3]
    # Ranked by a label's own column: 0 above (.8 | .5 .3 above .2 .1 .1 .1,
    # one of the others between): pairs won of 8.
    areas = [7 / 8, 7 / 8, 1.0]
    assert values == pytest.approx(
        {
            "accuracy": 4 / 6,
            "macro_precision": (1 / 2 + 2 / 3 + 1) / 3,
            "macro_recall": 2 / 3,
            "macro_f1": sum(f1) / 3,
            "weighted_precision": (1 / 2 + 2 / 3 + 1) / 3,
            "weighted_recall": 2 / 3,
            "weighted_f1": sum(f1) / 3,
            "micro_precision": 4 / 6,
            "micro_recall": 4 / 6,
            "micro_f1": 4 / 6,
            # (4 * 6 - (2*2 + 3*2 + 1*2)) / sqrt((36 - 14) (36 - 12)).
            "matthews": 12 / np.sqrt(22 * 24),
            "auc": sum(areas) / 3,
        }
    )
    table = per_label(gold, scores.argmax(1), ["a", "b", "c"])
    assert table["b"] == pytest.approx(
        {"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2}
    )
    assert list(table) == ["a", "b", "c"]


def test_two_labels_have_the_figures_of_the_second() -> None:
    gold = np.array([0, 0, 1, 1])
    second = np.array([0.1, 0.6, 0.4, 0.9])
    values = classification_metrics(gold, np.stack([1 - second, second], 1))
    assert values["precision"] == values["recall"] == values["f1"] == 0.5
    # (0.4 > 0.1), (0.9 > 0.1), (0.9 > 0.6); not (0.4 > 0.6).
    assert values["auc"] == 0.75
    assert values["matthews"] == 0.0


def test_one_label_only() -> None:
    values = classification_metrics(
        np.zeros(3, int), np.tile([0.9, 0.1], (3, 1))
    )
    assert values["accuracy"] == values["macro_f1"] == 1.0
    assert values["f1"] == values["matthews"] == 0.0
    assert values["auc"] == 0.5


def test_several_labels_at_once() -> None:
    gold = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]])
    predicted = np.array([[0.9, 0.6, 0.5], [0.1, 0.4, 0.1], [0.2, 0.3, 0.4]])
    # Given: 1 1 1 / 0 0 0 / 0 0 0.
    values = multi_label_metrics(gold, predicted)
    assert values["subset_accuracy"] == pytest.approx(1 / 3)
    assert values["accuracy"] == pytest.approx(7 / 9)
    assert values["micro_precision"] == pytest.approx(2 / 3)
    assert values["micro_recall"] == pytest.approx(2 / 3)
    assert values["macro_f1"] == pytest.approx(2 / 3)
    # Columns: 1, (0.4 above 0.3, below 0.6) 1/2, 1.
    assert values["auc"] == pytest.approx(5 / 6)
    # F1 of the three texts: 0.8, 0, and 0 where there is nothing.
    assert values["samples_f1"] == pytest.approx(0.8 / 3)


def test_several_labels_of_which_there_is_one() -> None:
    gold = np.array([[1], [1], [0], [0]])
    predicted = np.array([[0.9], [0.1], [0.7], [0.2]])
    # Given: 1 0 1 0; one right, one wrong, one left out.
    values = multi_label_metrics(gold, predicted)
    for average in ("macro", "micro"):
        for score in ("precision", "recall", "f1"):
            assert values[f"{average}_{score}"] == 0.5
    # The first text alone has a label that is right.
    assert values["samples_f1"] == values["subset_accuracy"] / 2 == 0.25
    # 0.9 is above 0.7 and 0.2, 0.1 below both.
    assert values["auc"] == 0.5


def test_numbers() -> None:
    gold = np.array([1.0, 2.0, 3.0, 4.0])
    predicted = np.array([1.0, 3.0, 2.0, 6.0])
    values = regression_metrics(gold, predicted)
    assert values["mean_squared_error"] == (0 + 1 + 1 + 4) / 4
    assert values["mean_absolute_error"] == 1.0
    # 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15).
    assert values["spearman"] == pytest.approx(0.8)
    # Deviations -1.5 -.5 .5 1.5 and -2 0 -1 3: 7 / sqrt(5 * 14).
    assert values["pearson"] == pytest.approx(7 / np.sqrt(70))
    flat = regression_metrics(gold, np.full(4, 2.0))
    assert flat["pearson"] == flat["spearman"] == 0.0


def test_calibration_by_hand() -> None:
    found = calibration(
        np.array([0.5, 0.5, 0.9, 0.8, 1.0]),
        np.array([True, False, True, False, True]),
        num_bins=2,
    )
    assert found.counts.tolist() == [2, 3]
    assert found.confidence == pytest.approx([0.5, 0.9])
    assert found.accuracy == pytest.approx([0.5, 2 / 3])
    assert found.expected_error == pytest.approx(0.6 * (0.9 - 2 / 3))
    # 0 falls into the first bin.
    assert calibration(np.zeros(1), np.zeros(1)).counts[0] == 1


def test_bootstrap_of_a_mean() -> None:
    right = np.arange(400) % 4 > 0

    def measure(rows: np.ndarray) -> dict[str, float]:
        return {"accuracy": right[rows].mean()}

    found = bootstrap_intervals(measure, 400, seed=1)
    assert found == bootstrap_intervals(measure, 400, seed=1)
    assert found != bootstrap_intervals(measure, 400, seed=2)
    low, high = found["accuracy"]
    # 0.75 and 1.96 standard errors of sqrt(0.75 * 0.25 / 400) on each side.
    assert low == pytest.approx(0.75 - 0.0424, abs=0.006)
    assert high == pytest.approx(0.75 + 0.0424, abs=0.006)
    with pytest.raises(ValueError, match="Received: 0 and 1000"):
        bootstrap_intervals(measure, 0)


def test_ranks_of_retrieval() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    candidates = np.array([[0.8, 0.6], [0.0, 1.0], [0.8, 0.6]])
    # The first and third candidates are as near: the wrong one comes first.
    ranks = retrieval_ranks(queries, candidates, np.arange(3))
    assert ranks.tolist() == [2, 1, 2]
    assert retrieval_metrics(ranks, (1, 2)) == pytest.approx(
        {"recall_at_1": 1 / 3, "recall_at_2": 1.0, "mrr": 2 / 3}
    )
    # They are the same text: both are right.
    same = retrieval_ranks(queries, candidates, np.array([0, 1, 0]))
    assert same.tolist() == [1, 1, 1]
    both = retrieval_ranks(
        queries, candidates, np.array([0, 1, 2]), np.array([5, 6, 5])
    )
    assert both.tolist() == [1, 1, 1]


def test_more_queries_than_fit_at_once() -> None:
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(1500, 4)).astype("float32")
    candidates = queries + 0.3 * rng.normal(size=(1500, 4)).astype("float32")
    ranks = retrieval_ranks(queries, candidates, np.arange(1500))
    similarity = queries @ candidates.T
    for i in (0, 1023, 1024, 1499):
        assert ranks[i] == (similarity[i] >= similarity[i, i]).sum()


def test_cosines() -> None:
    found = cosine_similarities(
        np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]),
        np.array([[4.0, 3.0], [0.0, 2.0], [1.0, 1.0]]),
    )
    assert found == pytest.approx([24 / 25, 0.0, 0.0])
