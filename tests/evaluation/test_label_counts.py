"""Figures of examples that were drawn again, against scikit-learn."""

import types
from typing import Any

import numpy as np
import pytest

from tfllm.evaluation import metrics
from tfllm.evaluation.label_counts import AreasUnderCurve
from tfllm.evaluation.label_figures import LabelFigures, SeveralLabelFigures
from tfllm.outputs.probabilities import sigmoid, softmax

COUNT = 40


def found(names: tuple[str, ...], golds: list[Any], logits: np.ndarray) -> Any:
    return types.SimpleNamespace(
        task=types.SimpleNamespace(labels=names),
        records=[types.SimpleNamespace(gold=gold) for gold in golds],
        outputs=list(logits),
    )


def draws(rng: np.random.Generator) -> list[np.ndarray]:
    """Sets of examples, also such that lack a label or have one only."""
    return [
        *(rng.integers(COUNT, size=COUNT) for _ in range(5)),
        np.array([3]),
        np.array([3, 3, 4]),
    ]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_one_label(size: int) -> None:
    rng = np.random.default_rng(size)
    names = tuple("abcdef"[:size])
    # Rounded: equal scores count half in an area.
    logits = rng.normal(size=(COUNT, size)).round(1)
    ids = rng.integers(size - (size == 5), size=COUNT)
    figures = LabelFigures(found(names, [names[i] for i in ids], logits))
    probabilities = softmax(logits)
    for rows in draws(rng):
        expected = metrics.classification_metrics(
            ids[rows], probabilities[rows]
        )
        assert figures.sample(rows) == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 3])
def test_several_labels(size: int) -> None:
    rng = np.random.default_rng(size)
    names = tuple("abc"[:size])
    logits = rng.normal(size=(COUNT, size)).round(1)
    table = rng.random((COUNT, size)) < 0.4
    golds = [
        tuple(n for n, has in zip(names, row, strict=True) if has)
        for row in table
    ]
    figures = SeveralLabelFigures(found(names, golds, logits))
    probabilities = sigmoid(logits)
    for rows in draws(rng):
        expected = metrics.multi_label_metrics(table[rows], probabilities[rows])
        assert figures.sample(rows) == pytest.approx(expected)


def test_an_area_by_hand() -> None:
    gold = np.array([[True], [False], [True], [False]])
    areas = AreasUnderCurve(gold, np.array([[0.9], [0.5], [0.5], [0.1]]))
    # Pairs: 0.9 over both, 0.5 half over 0.5, 0.5 over 0.1.
    assert areas.mean(np.arange(4)) == pytest.approx(3.5 / 4)
    assert areas.mean(np.array([1, 2, 2])) == 0.5
    assert areas.mean(np.array([0, 2])) == 0.5


def test_decisions_on_several_labels() -> None:
    logits = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    golds = [("a",), ("b",), ("a", "b")]
    figures = SeveralLabelFigures(found(("a", "b"), golds, logits))
    # Label is right x label was given.
    assert figures.details()["decisions"] == {
        "a": [[0, 1], [1, 1]],
        "b": [[1, 0], [0, 2]],
    }
