"""Confidence intervals by drawing the examples again."""

from collections.abc import Callable

import numpy as np


def bootstrap_intervals(
    measure: Callable[[np.ndarray], dict[str, float]],
    num_examples: int,
    num_samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Returns percentile intervals of figures over a set of examples.

    Args:
        measure: Figures of the examples whose numbers, int [N], it is given;
            some occur several times, some not at all.
        num_examples: Number of examples, N.
        num_samples: How many sets of N are drawn, with replacement.
        level: Share of the figures inside the interval.
        seed: Same seed, same sets.

    Returns:
        (low, high) by the names that `measure` gives.

    Raises:
        ValueError: There is no example or no sample.

    Reference: Efron and Tibshirani, 1993, chapter 13.
    """
    if num_examples < 1 or num_samples < 1:
        raise ValueError(
            "`num_examples` and `num_samples` must be at least 1. Received: "
            f"{num_examples} and {num_samples}"
        )
    rng = np.random.default_rng(seed)
    drawn = [
        measure(rng.integers(num_examples, size=num_examples))
        for _ in range(num_samples)
    ]
    tails = [50.0 * (1.0 - level), 50.0 * (1.0 + level)]
    intervals = {}
    for name in drawn[0]:
        low, high = np.percentile([values[name] for values in drawn], tails)
        intervals[name] = (float(low), float(high))
    return intervals
