"""Bootstrap confidence intervals of figures."""

from collections.abc import Callable

import numpy as np


def bootstrap_intervals(
    measure: Callable[[np.ndarray], dict[str, float]],
    num_examples: int,
    num_samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Returns bootstrap percentile intervals of figures.

    Args:
        measure: Function from the numbers of examples, int [N], to figures by
            name. Numbers may repeat or be missing.
        num_examples: Number of examples, N.
        num_samples: Number of samples of N examples, with replacement.
        level: Share of the figures inside the interval.
        seed: Seed of the samples.

    Returns:
        (low, high) by name of the figure.

    Raises:
        ValueError: `num_examples` or `num_samples` is below 1.

    Reference: Efron and Tibshirani, 1993, chapter 13.
    """
    if num_examples < 1 or num_samples < 1:
        raise ValueError(
            "`num_examples` and `num_samples` must be at least 1. Received: "
            f"{num_examples} and {num_samples}"
        )
    rng = np.random.default_rng(seed)
    samples = [
        measure(rng.integers(num_examples, size=num_examples))
        for _ in range(num_samples)
    ]
    tails = [50.0 * (1.0 - level), 50.0 * (1.0 + level)]
    intervals = {}
    for name in samples[0]:
        low, high = np.percentile([sample[name] for sample in samples], tails)
        intervals[name] = (float(low), float(high))
    return intervals
