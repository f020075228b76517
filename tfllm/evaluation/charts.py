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
# Characters of a name that are shown.
_LONGEST_NAME = 20


def write_confusion_matrix(
    path: str, counts: np.ndarray, names: Sequence[str]
) -> None:
    """Draws how often each label was taken for each.

    Args:
        path: Of the PNG file.
        counts: int [L, L], right label x predicted label.
        names: Of the labels.
    """
    # Shares of the right label: a rare one shows as clearly as a common one.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = _size_of(len(names))
    figure, axes = _figure(size, size)
    _draw_counts(axes, counts, shares, names, names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("right")
    _write(path, figure)


def write_decisions(
    path: str, counts: np.ndarray, names: Sequence[str]
) -> None:
    """Draws how often labels that do not exclude each other were given.

    Args:
        path: Of the PNG file.
        counts: int [L, 2, 2], by label: whether it is right x whether it was
            given.
        names: Of the labels.
    """
    shares = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
    # The columns in another order: those of right labels first.
    order = (1, 1, 0, 0), (1, 0, 1, 0)
    columns = (
        "right, given",
        "right, missed",
        "wrong, given",
        "wrong, not given",
    )
    figure, axes = _figure(5.0, _size_of(len(names)))
    _draw_counts(axes, counts[:, *order], shares[:, *order], names, columns)
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
        f"expected error {calibration.expected_error:.3f}, {total} predictions"
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


def _size_of(num_rows: int) -> float:
    """Returns the inches of an axis with so many names."""
    return float(np.clip(2.0 + 0.5 * num_rows, 4.0, 16.0))


def _draw_counts(
    axes: Any,
    counts: np.ndarray,
    shares: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
) -> None:
    """Draws a table of counts, int [R, C], coloured by shares, [R, C]."""
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(
        range(len(columns)), _shown(columns), rotation=90, parse_math=False
    )
    axes.set_yticks(range(len(rows)), _shown(rows), parse_math=False)
    if len(rows) > _MOST_NUMBERS:
        return
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column,
            row,
            str(int(count)),
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.5 else "black",
        )


def _shown(names: Sequence[str]) -> list[str]:
    """Returns what stands for labels: their beginnings.

    Of names that the font cannot write it is their number.
    """
    from matplotlib import font_manager, ft2font

    path = font_manager.findfont(font_manager.FontProperties())
    known = ft2font.FT2Font(path).get_charmap()
    shown = []
    for number, name in enumerate(names):
        if not all(ord(character) in known for character in name):
            name = f"label {number}"
        cut = len(name) > _LONGEST_NAME
        shown.append(f"{name[:_LONGEST_NAME]}…" if cut else name)
    return shown


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
