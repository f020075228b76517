"""Prints the main figures as a table.

The figure that the user chose comes first, then the main ones of the task.
"""

from collections.abc import Mapping, Sequence

from tfllm.evaluation.metrics import Values


def main_figures(
    main: Sequence[str], values: Values, chosen: str = ""
) -> tuple[str, ...]:
    """Returns the names of the figures to print, in order.

    Args:
        main: Names of the main figures of the kind of task.
        values: All figures by name.
        chosen: Name of the figure that the user chose, or "".
    """
    names = dict.fromkeys((chosen, *main, "loss"))
    return tuple(name for name in names if name in values)


def table(
    main: Sequence[str],
    values: Values,
    chosen: str = "",
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> str:
    """Returns the main figures as aligned lines.

    Args:
        main: As in `main_figures`.
        values: As in `main_figures`.
        chosen: As in `main_figures`.
        intervals: 95 % confidence intervals of some figures, by name.
    """
    names = main_figures(main, values, chosen)
    width = max(map(len, ("figure", *names)))
    head = f"{'figure':<{width}}  {'value':>10}"
    lines = [f"{head}  95 % interval" if intervals else head]
    for name in names:
        line = f"{name:<{width}}  {values[name]:>10.4f}"
        if intervals and name in intervals:
            low, high = intervals[name]
            line += f"  {low:.4f} to {high:.4f}"
        lines.append(line)
    return "\n".join(lines)
