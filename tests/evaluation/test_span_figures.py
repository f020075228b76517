"""Figures of tags against arithmetic."""

import types

import numpy as np
import pytest

from tfllm.evaluation.span_figures import TagFigures


def test_a_word_without_a_tag_is_wrong_and_no_class() -> None:
    nan = float("nan")
    # N, V, and a word that was not read.
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [nan, nan]])
    found = types.SimpleNamespace(
        task=types.SimpleNamespace(labels=["N", "V"]),
        records=[types.SimpleNamespace(gold=("N", "V", "N"))],
        outputs=[logits],
    )
    values = TagFigures(found).values()  # type: ignore[arg-type]
    assert values["accuracy"] == pytest.approx(2 / 3)
    # N: precision 1, recall 1/2; V: both 1.
    assert values["macro_precision"] == 1.0
    assert values["macro_recall"] == 0.75
    assert values["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
