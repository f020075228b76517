"""Figures of tags and of answers against arithmetic."""

import math
import pathlib
import types
from typing import Any

import numpy as np
import pytest

from tfllm.evaluation.span_figures import AnswerFigures, TagFigures
from tfllm.outputs.answers import Answer, Answers

NAN = float("nan")
# N, V, and a word that was not read.
LOGITS = np.array([[2.0, 0.0], [0.0, 2.0], [NAN, NAN]])


def tag_figures(gold: tuple[str, ...], labels: list[str]) -> TagFigures:
    pad = ((0, 0), (0, len(labels) - 2))
    found: Any = types.SimpleNamespace(
        task=types.SimpleNamespace(labels=labels),
        records=[types.SimpleNamespace(gold=gold)],
        # The first two labels; others are never predicted.
        outputs=[np.pad(LOGITS, pad, constant_values=-9.0)],
    )
    return TagFigures(found)


def test_a_word_without_a_tag_is_wrong_and_no_class() -> None:
    figures = tag_figures(("N", "V", "N"), ["N", "V"])
    values = figures.values()
    assert values["accuracy"] == pytest.approx(2 / 3)
    # N: precision 1, recall 1/2; V: both 1.
    assert values["macro_precision"] == 1.0
    assert values["macro_recall"] == 0.75
    assert values["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures.details()["confusion"] == [[1, 0], [0, 1]]


def test_entities_of_bilou() -> None:
    values = tag_figures(("U-X", "O", "O"), ["U-X", "O"]).values()
    assert (values["precision"], values["recall"], values["f1"]) == (1, 1, 1)
    # One entity of two words, one predicted of one word.
    figures = tag_figures(("B-X", "L-X", "O"), ["B-X", "O", "L-X", "U-X"])
    assert figures.values()["f1"] == 0.0
    assert figures.details()["tag_scheme"] == "bilou"
    assert figures.details()["labels"]["X"]["support"] == 1


@pytest.mark.parametrize("labels", [["N", "V"], ["O", "B-X"]])
def test_calibration_of_tags(labels: list[str]) -> None:
    """Of the words that were read: two, of which one is right."""
    figures = tag_figures((labels[0], labels[0], labels[0]), labels)
    sure = 1 / (1 + math.exp(-2.0))
    error = figures.values()["calibration_error"]
    assert error == pytest.approx(sure - 0.5)


def answer_figures(threshold: float | None, golds: list[str]) -> AnswerFigures:
    """Four questions, answered by "a", "b", nothing and nothing."""
    differences = (-2.0, -1.0, 1.0, 3.0)
    found: Any = types.SimpleNamespace(
        task=types.SimpleNamespace(null_threshold=threshold),
        records=[
            types.SimpleNamespace(
                gold=[types.SimpleNamespace(text=text)] if text else []
            )
            for text in golds
        ],
        outputs=[
            Answers([Answer(text, 0, 1, 0.0)], difference)
            for text, difference in zip("abcd", differences, strict=True)
        ],
    )
    return AnswerFigures(found)


def test_answers_that_there_are_and_are_not(tmp_path: pathlib.Path) -> None:
    figures = answer_figures(0.0, ["a", "", "", "d"])
    # Right: answer, no answer; predicted: answer, no answer.
    assert figures.details()["confusion"] == [[1, 1], [1, 1]]
    paths = figures.draw(str(tmp_path / "x_"))
    assert paths == [
        str(tmp_path / "x_calibration.png"),
        str(tmp_path / "x_confusion.png"),
    ]
    for path in paths:
        assert pathlib.Path(path).read_bytes().startswith(b"\x89PNG")
    found = figures.calibration()
    # By themselves in their bins: what was chosen, and whether it was right.
    filled = found.counts > 0
    assert found.confidence[filled] == pytest.approx(
        [1 / (1 + math.exp(-x)) for x in (1.0, 2.0, 3.0)]
    )
    assert found.counts[filled].tolist() == [2, 1, 1]
    assert found.accuracy[filled].tolist() == [0.5, 1.0, 0.0]


def test_questions_that_all_have_an_answer(tmp_path: pathlib.Path) -> None:
    figures = answer_figures(None, ["a", "b", "x", "d"])
    assert figures.details() == {}
    assert figures.draw(str(tmp_path / "x_")) == [
        str(tmp_path / "x_calibration.png")
    ]
    # The only answer has all the probability; three of four are right.
    assert figures.values()["calibration_error"] == pytest.approx(0.25)
