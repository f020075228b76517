"""Charts beside the figures, as PNG files.

matplotlib is imported where it is used, and only its drawing: no window, no
state of pyplot that others would find changed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfllm.evaluation.calibration import Calibration
from tfllm.file_access import write_binary_atomically

# Above so many labels the numbers in the fields cannot be read.
_MOST_NUMBERS = 20


def write_confusion_matrix(
    path: str, counts: np.ndarray, names: Sequence[str]
) -> None:
    """Draws how often each label was taken for each.

    Args:
        path: Of the PNG file.
        counts: int [L, L], right label x predicted label.
        names: Of the labels.
    """
    size = float(np.clip(2.0 + 0.5 * len(names), 4.0, 16.0))
    figure, axes = _figure(size, size)
    # Shares of the right label: a rare one shows as clearly as a common one.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90)
    axes.set_yticks(places, names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("right")
    if len(names) <= _MOST_NUMBERS:
        for row in places:
            for column in places:
                axes.text(
                    column,
                    row,
                    str(int(counts[row, column])),
                    ha="center",
                    va="center",
                    color="white" if shares[row, column] > 0.5 else "black",
                )
    _write(path, figure)


def write_reliability_diagram(path: str, calibration: Calibration) -> None:
    """Draws the accuracy over the confidence.

    Args:
        path: Of the PNG file.
        calibration: Of the predictions.
    """
    figure, axes = _figure(4.5, 4.5)
    full = calibration.counts > 0
    axes.bar(
        calibration.edges[:-1][full],
        calibration.accuracy[full],
        width=np.diff(calibration.edges)[full],
        align="edge",
        edgecolor="black",
        label="accuracy",
    )
    axes.plot([0, 1], [0, 1], "--", color="gray", label="as it should be")
    axes.plot(
        calibration.confidence[full],
        calibration.accuracy[full],
        "o",
        color="black",
        label="mean confidence",
    )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    total = int(calibration.counts.sum())
    axes.set_title(
        f"expected error {calibration.expected_error:.3f}, {total} examples"
    )
    axes.legend(loc="upper left")
    _write(path, figure)


def write_search(
    path: str,
    setting: str,
    metric: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
) -> None:
    """Draws a metric over a setting, on a logarithmic axis.

    Args:
        path: Of the PNG file.
        setting: Name of the setting.
        metric: Name of the metric.
        series: Name of a line -> (setting, metric) in order.
    """
    figure, axes = _figure(6.0, 4.5)
    for name, points in series.items():
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel(setting)
    axes.set_ylabel(metric)
    if any(series.values()):
        axes.legend()
    _write(path, figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """Returns a figure, in inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _write(path: str, figure: Any) -> None:
    """Writes a figure, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with write_binary_atomically(path) as file:
        # Without the version, so that the same figures give the same file.
        figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
