"""Tables of medians and ratios."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tools.peers.sides import OURS


@dataclasses.dataclass
class Row:
    """One side's line in a table.

    Args:
        side: Name of the side.
        figures: Name -> measured value.
        variant: Variant that was measured.
        notes: What a reader needs to know to compare.
        error: Reason of a failure; empty if the side has figures.
    """

    side: str
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    variant: str = ""
    notes: str = ""
    error: str = ""


@dataclasses.dataclass
class Table:
    """The result of one work.

    Args:
        title: Title.
        rows: One row per side, or per side and variant.
        compared: Figure -> whether "lower" or "higher" is better.
        details: Further data for the JSON file.
    """

    title: str
    rows: list[Row]
    compared: dict[str, str] = dataclasses.field(default_factory=dict)
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Returns the table and its ratios as JSON values."""
        return {**dataclasses.asdict(self), "ratios": self.ratios()}

    def ratios(self) -> dict[str, dict[str, float]]:
        """Returns figure -> peer -> how many times better tfllm is."""
        return {
            figure: advantage(self.best(figure), better)
            for figure, better in self.compared.items()
        }

    def best(self, figure: str) -> dict[str, float]:
        """Returns side -> its best value of a figure.

        A peer counts with its best variant for each figure, tfllm with the
        variant of its first row for all figures.

        Args:
            figure: Key of `compared`.
        """
        choose = min if self.compared[figure] == "lower" else max
        best: dict[str, float] = {}
        for row in self.rows:
            if figure not in row.figures:
                continue
            value = row.figures[figure]
            if row.side not in best:
                best[row.side] = value
            elif row.side != OURS:
                best[row.side] = choose(best[row.side], value)
        return best

    def render(self) -> str:
        """Returns the table as Markdown, with a line per comparison."""
        figures = list(
            dict.fromkeys(name for row in self.rows for name in row.figures)
        )
        lines = [
            ["side", "variant", *figures, "notes"],
            *(_cells(row, figures) for row in self.rows),
        ]
        text = [f"## {self.title}", "", *_align(lines), ""]
        text += [
            _comparison(figure, ratios)
            for figure, ratios in self.ratios().items()
            if ratios
        ]
        return "\n".join(text) + "\n"


def advantage(values: Mapping[str, float], better: str) -> dict[str, float]:
    """Returns peer -> how many times better tfllm's value is.

    Args:
        values: Side -> value.
        better: "lower" or "higher".

    Returns:
        A ratio per peer, above 1 where tfllm is better, and `best_peer`, the
        smallest of them. Empty if tfllm or every peer is missing.
    """
    if better not in ("lower", "higher"):
        raise ValueError(
            f"`better` must be 'lower' or 'higher'. Received: {better!r}."
        )
    peers = {side: v for side, v in values.items() if side != OURS}
    if OURS not in values or not peers:
        return {}
    ours = values[OURS]
    ratios = {
        side: value / ours if better == "lower" else ours / value
        for side, value in peers.items()
    }
    return {**ratios, "best_peer": min(ratios.values())}


def summary(values: Sequence[float]) -> dict[str, float]:
    """Returns median, minimum and maximum of measurements.

    Args:
        values: At least one measurement.
    """
    return {
        "median": statistics.median(values),
        "least": min(values),
        "greatest": max(values),
    }


def _cells(row: Row, figures: Sequence[str]) -> list[str]:
    values = [
        _number(row.figures[name]) if name in row.figures else "-"
        for name in figures
    ]
    notes = f"FAILED: {row.error}" if row.error else row.notes
    return [row.side, row.variant, *values, notes.replace("|", "/")]


def _number(value: float) -> str:
    """Returns a number with three significant digits."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _align(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # The last column is prose of any length.
    widths[-1] = len(lines[0][-1])
    rows = [
        "| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [rows[0], rule, *rows[1:]]


def _comparison(figure: str, ratios: Mapping[str, float]) -> str:
    peers = ", ".join(
        f"{ratio:.2f}x {side}"
        for side, ratio in ratios.items()
        if side != "best_peer"
    )
    return (
        f"{figure}: {OURS} is {ratios['best_peer']:.2f}x as good as the best "
        f"peer ({peers})"
    )
