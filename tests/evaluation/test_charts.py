"""The charts are pictures, and the same each time."""

import pathlib
import struct
from typing import Any

import numpy as np
import pytest

from tfllm.evaluation import charts
from tfllm.evaluation.calibration import calibration
from tfllm.evaluation.charts import (
    write_confusion_matrix,
    write_decisions,
    write_reliability_diagram,
)


def size_of(path: pathlib.Path) -> tuple[int, int]:
    """Width and height in the header of a PNG file."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_confusion_matrix(tmp_path: pathlib.Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    counts = np.array([[5, 1], [0, 7]])
    for path in (first, second):
        write_confusion_matrix(str(path), counts, ["ham", "späm $x_"])
    assert size_of(first) == (400, 400)
    assert first.read_bytes() == second.read_bytes()
    write_confusion_matrix(str(second), counts[::-1], ["ham", "späm $x_"])
    assert first.read_bytes() != second.read_bytes()


def test_many_labels(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.png"
    names = [f"label {i}" for i in range(50)]
    write_confusion_matrix(str(path), np.eye(50, dtype=int), names)
    assert size_of(path) == (1600, 1600)


def test_labels_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    """Formulas are none, long ones are cut, others are told by number."""
    path = str(tmp_path / "a.png")
    names = ["$0_to_$10", "a" * 400, "日本", "한국"]
    write_confusion_matrix(path, np.eye(4, dtype=int), names)
    counts = np.arange(16).reshape(4, 2, 2)
    write_decisions(path, counts, names)
    first = pathlib.Path(path).read_bytes()
    write_decisions(path, counts, [*names[:1], "a" * 900, "中国", "日"])
    assert pathlib.Path(path).read_bytes() == first
    write_decisions(path, counts, ["$0_to_$20", *names[1:]])
    assert pathlib.Path(path).read_bytes() != first


def test_decisions(tmp_path: pathlib.Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    counts = np.arange(12).reshape(3, 2, 2)
    write_decisions(str(first), counts, ["a", "b", "c"])
    assert size_of(first) == (500, 400)
    # Missed is not wrongly given.
    write_decisions(str(second), counts.swapaxes(1, 2), ["a", "b", "c"])
    assert first.read_bytes() != second.read_bytes()


def test_reliability_diagram(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.png"
    found = calibration(np.array([0.6, 0.9, 1.0]), np.array([0, 1, 1]))
    write_reliability_diagram(str(path), found)
    assert size_of(path) == (450, 450)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were drawn instead of written."""
    drawn: list[Any] = []
    monkeypatch.setattr(
        charts, "_write_png", lambda _, figure: drawn.append(figure)
    )
    return drawn


def names_of(axes: Any) -> tuple[str, str]:
    return axes.get_xlabel(), axes.get_ylabel()


def test_charts_have_the_usual_names(figures: list[Any]) -> None:
    """Those of scikit-learn's displays, and of Guo et al., 2017."""
    write_confusion_matrix("", np.array([[5, 1], [0, 7]]), ["ham", "spam"])
    axes, bar = figures[-1].axes
    assert names_of(axes) == ("predicted label", "true label")
    assert bar.get_ylabel() == "share of the true label"
    assert [text.get_text() for text in axes.texts] == ["5", "1", "0", "7"]

    # 4 true positives, 3 false negatives, 2 false positives, 1 true negative.
    write_decisions("", np.array([[[1, 2], [3, 4]]]), ["sport"])
    axes, _ = figures[-1].axes
    assert [text.get_text() for text in axes.get_xticklabels()] == [
        "true positive",
        "false negative",
        "false positive",
        "true negative",
    ]
    assert [text.get_text() for text in axes.texts] == ["4", "3", "2", "1"]

    # Gaps of 0.4 and 0.05 in bins of one and two predictions.
    found = calibration(np.array([0.6, 0.9, 1.0]), np.array([1, 1, 1]), 2)
    write_reliability_diagram("", found)
    (axes,) = figures[-1].axes
    assert names_of(axes) == ("confidence", "accuracy")
    _, names = axes.get_legend_handles_labels()
    assert "perfect calibration" in names
    error = f"{(0.4 + 0.1 + 0.0) / 3:.3f}"
    assert axes.get_title() == (
        f"expected calibration error {error}\n3 predictions"
    )

    points = {"batch size 16": [(1e-5, 0.5), (1e-4, 0.7)]}
    charts.write_search("", "learning rate", "macro_f1", points)
    (axes,) = figures[-1].axes
    assert names_of(axes) == ("learning rate", "macro_f1")
