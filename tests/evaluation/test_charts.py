"""The charts are pictures, and the same each time."""

import pathlib
import struct

import numpy as np

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
