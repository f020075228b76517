"""The order of examples: a function of (seed, epoch, step), seekable.

In each epoch units are permuted, consecutive groups of `units_per_group` are
loaded together, and the examples of a group are shuffled. Starting at any step
costs the load of one group.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfllm import stateless


class RowGroup(NamedTuple):
    """Rows that are loaded together.

    Attributes:
        units: int64 [U], units to load as one table.
        rows: int64 [N], rows of that table, in training order.
        epoch: Number of the epoch.
    """

    units: np.ndarray
    rows: np.ndarray
    epoch: int


class EpochSteps:
    """Number of steps in epochs.

    Args:
        num_examples: Examples in an epoch, with the remainder.
        batch_size: Rows per global batch.
    """

    def __init__(self, num_examples: int, batch_size: int) -> None:
        self.num_examples = num_examples
        self.batch_size = batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch.

        Raises:
            ValueError: There are fewer examples than `batch_size`.
        """
        steps = self.num_examples // self.batch_size
        if steps < 1:
            raise ValueError(
                "`batch_size` must not exceed the number of examples, "
                f"{self.num_examples}. Received: {self.batch_size}. "
                "Give more data or a smaller batch."
            )
        return steps

    def steps(self, epochs: float) -> int:
        """Batches in a number of epochs."""
        # Rounded first: 0.1 * 30 is a little more than 3.
        return math.ceil(round(epochs * self.steps_per_epoch, 6))


class Epochs(EpochSteps):
    """Shuffled epochs over examples that are stored in units.

    Args:
        counts: Examples per unit.
        batch_size: Rows per global batch.
        seed: Seed of the order.
        units_per_group: Units loaded and shuffled together.
    """

    def __init__(
        self,
        counts: Sequence[int],
        batch_size: int,
        seed: int,
        units_per_group: int,
    ) -> None:
        self.counts = np.array(counts, np.int64)
        super().__init__(int(self.counts.sum()), batch_size)
        self.seed = seed
        self.units_per_group = units_per_group

    def groups(self, start_step: int) -> Iterator[RowGroup]:
        """Yields groups of examples in training order, without end.

        Args:
            start_step: Batches already seen.
        """
        rows_per_epoch = self.steps_per_epoch * self.batch_size
        epoch, step = divmod(start_step, self.steps_per_epoch)
        skip = step * self.batch_size
        while True:
            units = stateless.permutation(len(self.counts), self.seed, epoch)
            first = 0  # row of the epoch where the group begins
            for start in range(0, len(units), self.units_per_group):
                group = units[start : start + self.units_per_group]
                last = first + int(self.counts[group].sum())
                low, high = max(first, skip), min(last, rows_per_epoch)
                if low < high:
                    order = stateless.permutation(
                        last - first, self.seed, epoch, start
                    )
                    rows = order[low - first : high - first]
                    yield RowGroup(group, rows, epoch)
                first = last
            epoch, skip = epoch + 1, 0

    def row_numbers(
        self, start_step: int, most: int
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Yields numbers of examples in training order, without end.

        Args:
            start_step: Batches already seen.
            most: Largest number of examples to yield at a time.

        Yields:
            int64 [N], counted over all units in their order; and the epoch.
        """
        firsts = np.cumsum(self.counts) - self.counts
        for group in self.groups(start_step):
            numbers = np.concatenate(
                [firsts[u] + np.arange(self.counts[u]) for u in group.units]
            )[group.rows]  # [N]
            for start in range(0, len(numbers), most):
                yield numbers[start : start + most], group.epoch
