"""Tags to entities in the three schemes, and their figures by hand."""

import numpy as np
import pytest

from tfllm.evaluation.entity_figures import (
    entity_counts,
    entity_metrics,
    metrics_of_counts,
    per_entity_type,
)
from tfllm.outputs.entities import (
    entities,
    entity_spans,
)

# Two entities that touch, a third of another type behind them.
EXPECTED = [("PER", 0, 1), ("PER", 2, 2), ("creative-work", 3, 4)]


@pytest.mark.parametrize(
    "tags",
    [
        # BIO, BIOES, IOB1.
        "B-PER I-PER B-PER B-creative-work I-creative-work O",
        "B-PER E-PER S-PER B-creative-work E-creative-work O",
        "I-PER I-PER B-PER I-creative-work I-creative-work O",
    ],
)
def test_the_schemes_agree(tags: str) -> None:
    assert entities(tags.split()) == EXPECTED


def test_entities_at_the_end_and_without_a_type() -> None:
    assert entities(["O", "B", "I"]) == [("_", 1, 2)]
    assert entities([]) == []


def test_spans_are_parts_of_the_text() -> None:
    text = "Anna  Lee saw (Oslo)"
    spans = entity_spans(
        ["B-PER", "I-PER", "O", "B-LOC"],
        [0.5, 0.7, 0.9, 0.8],
        [(0, 4), (6, 9), (10, 13), (15, 19)],
        text,
    )
    assert spans == [
        {
            "entity_group": "PER",
            "score": pytest.approx(0.6),
            "word": "Anna  Lee",
            "start": 0,
            "end": 9,
        },
        {
            "entity_group": "LOC",
            "score": pytest.approx(0.8),
            "word": "Oslo",
            "start": 15,
            "end": 19,
        },
    ]
    assert all(text[s["start"] : s["end"]] == s["word"] for s in spans)


GOLD = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC", "O"]]
PREDICTED = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "B-LOC", "O"]]


def test_figures_by_hand() -> None:
    # Right: PER (0, 1) and LOC of the second; 4 predicted, 3 there.
    values = entity_metrics(GOLD, PREDICTED)
    assert values == pytest.approx(
        {
            "precision": 2 / 4,
            "recall": 2 / 3,
            "f1": 4 / 7,
            "macro_precision": (1 / 2 + 1 / 2) / 2,
            "macro_recall": (1 + 1 / 2) / 2,
            "macro_f1": (2 / 3 + 1 / 2) / 2,
        }
    )
    table = per_entity_type(GOLD, PREDICTED)
    assert table["LOC"] == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "support": 2,
    }
    assert list(table) == ["LOC", "PER"]


def test_counts_give_the_same_figures() -> None:
    counts = entity_counts(GOLD, PREDICTED)
    assert counts.tolist() == [[1, 2, 2], [1, 2, 1]]
    values = entity_metrics(GOLD, PREDICTED)
    for name, value in metrics_of_counts(counts).items():
        assert value == pytest.approx(values[name])


def test_no_entity_at_all() -> None:
    values = entity_metrics([["O", "O"]], [["O", "O"]])
    assert set(values.values()) == {0.0}
    assert per_entity_type([["O"]], [["O"]]) == {}
    assert metrics_of_counts(np.zeros((2, 3), int)) == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
    }
