"""Draws figures as PNG charts.

matplotlib is imported where it is used. pyplot is not, so that no window opens
and no global state changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfllm.evaluation.calibration import Calibration
from tfllm.file_access import write_binary_atomically

# With more labels, the numbers in the cells would be too small to read.
_MOST_NUMBERS = 20
# Characters shown of a label name.
_LONGEST_NAME = 20


def write_confusion_matrix(
    path: str, counts: np.ndarray, names: Sequence[str]
) -> None:
    """Draws a confusion matrix.

    Args:
        path: PNG file to write.
        counts: int [L, L], true label x predicted label.
        names: Names of the labels.
    """
    # Coloured by shares per true label, so that rare labels show as well.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = _size_of(len(names))
    figure, axes = _figure(size, size)
    image = _draw_counts(axes, counts, shares, names, names)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    figure.colorbar(image, label="share of the true label", shrink=0.8)
    _write_png(path, figure)


def write_decisions(
    path: str, counts: np.ndarray, names: Sequence[str]
) -> None:
    """Draws the true and false positives and negatives of each label.

    Args:
        path: PNG file to write.
        counts: int [L, 2, 2], label x true or not x predicted or not.
        names: Names of the labels.
    """
    shares = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
    # True positive, false negative, false positive, true negative.
    order = (1, 1, 0, 0), (1, 0, 1, 0)
    columns = (
        "true positive",
        "false negative",
        "false positive",
        "true negative",
    )
    figure, axes = _figure(5.0, _size_of(len(names)))
    image = _draw_counts(
        axes, counts[:, *order], shares[:, *order], names, columns
    )
    axes.set_ylabel("label")
    figure.colorbar(image, label="share of positives or negatives")
    _write_png(path, figure)


def write_reliability_diagram(path: str, calibration: Calibration) -> None:
    """Draws a reliability diagram: accuracy over confidence.

    Args:
        path: PNG file to write.
        calibration: Calibration of the predictions.
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
    axes.plot([0, 1], [0, 1], "--", color="gray", label="perfect calibration")
    axes.plot(
        calibration.confidence[full],
        calibration.accuracy[full],
        "o",
        color="black",
        label="mean confidence of a bin",
    )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    total = int(calibration.counts.sum())
    axes.set_title(
        f"expected calibration error {calibration.expected_error:.3f}\n"
        f"{total} predictions",
        fontsize="medium",
    )
    axes.legend(loc="upper left")
    _write_png(path, figure)


def write_search(
    path: str,
    setting: str,
    metric: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
) -> None:
    """Draws a metric over a setting, on a logarithmic axis.

    Args:
        path: PNG file to write.
        setting: Name of the setting.
        metric: Name of the metric.
        series: (setting, metric) points in order, by name of the line.
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
    _write_png(path, figure)


def write_loss_curve(
    path: str,
    training: Sequence[tuple[int, float]],
    held_out: Sequence[tuple[int, float]],
    rates: Sequence[tuple[int, float]],
    label: str,
) -> None:
    """Draws the losses and the learning rate of a run over its steps.

    Args:
        path: PNG file to write.
        training: (step, loss), at least one.
        held_out: (step, loss) of the evaluations.
        rates: (step, learning rate).
        label: Label of the axis of losses.
    """
    figure, axes = _figure(8.0, 4.5)
    steps, losses = np.array(training, np.float64).T
    smooth = _smoothed(losses)
    # The raw line is drawn only if smoothing changes it.
    if np.allclose(smooth, losses, rtol=1e-9):
        axes.plot(steps, losses, color="tab:blue", marker=".", label="training")
    else:
        axes.plot(
            steps,
            losses,
            color="tab:blue",
            alpha=0.3,
            linewidth=0.8,
            label="training",
        )
        axes.plot(steps, smooth, color="tab:blue", label="training, smoothed")
    if held_out:
        axes.plot(
            *zip(*held_out, strict=True),
            color="tab:orange",
            marker="o",
            markersize=4,
            label=f"held out (last {held_out[-1][1]:.4g})",
        )
    axes.set_title("Loss over the steps")
    axes.set_xlabel("step")
    # No ticks between steps, such as 1.5.
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    handles, names = axes.get_legend_handles_labels()
    if rates:
        handles, names = (
            [*handles, _draw_rates(axes, rates)],
            [*names, "learning rate"],
        )
    axes.legend(handles, names, loc="upper right")
    _write_png(path, figure)


def _draw_rates(axes: Any, rates: Sequence[tuple[int, float]]) -> Any:
    """Draws the learning rate on an axis at the right; returns its line."""
    right = axes.twinx()
    (line,) = right.plot(
        *zip(*rates, strict=True), "--", color="gray", linewidth=0.8
    )
    right.set_ylabel("learning rate", color="gray")
    right.set_ylim(bottom=0.0)
    right.ticklabel_format(axis="y", scilimits=(-2, 2))
    return line


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """Returns centred moving averages of losses, float64 [N].

    A window spans 1/25 of the losses; near both ends it is shorter, to stay
    centred.
    """
    reach = len(losses) // 50
    totals = np.concatenate([[0.0], np.cumsum(losses)])
    places = np.arange(len(losses))
    reaches = np.minimum(reach, np.minimum(places, places[::-1]))
    first, last = places - reaches, places + reaches + 1
    return (totals[last] - totals[first]) / (last - first)


def _size_of(num_rows: int) -> float:
    """Returns the length in inches of an axis with one name per row."""
    return float(np.clip(2.0 + 0.5 * num_rows, 4.0, 16.0))


def _draw_counts(
    axes: Any,
    counts: np.ndarray,
    shares: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
) -> Any:
    """Draws a table of counts, int [R, C], coloured by shares, [R, C].

    Returns:
        The image, from which the caller makes a colour bar.
    """
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(
        range(len(columns)), _shown(columns), rotation=90, parse_math=False
    )
    axes.set_yticks(range(len(rows)), _shown(rows), parse_math=False)
    if len(rows) > _MOST_NUMBERS:
        return image
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column,
            row,
            str(int(count)),
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.5 else "black",
        )
    return image


def _shown(names: Sequence[str]) -> list[str]:
    """Returns label names for an axis, shortened.

    Names with characters that the font lacks are replaced by their number.
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
    """Returns an empty figure of a size in inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _write_png(path: str, figure: Any) -> None:
    """Writes a figure as a PNG file, atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with write_binary_atomically(path) as file:
        # Without the version of matplotlib, equal figures give equal files.
        figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
