"""Batches examples of similar length, to pad little.

Batches have one of a few widths. The order is a function of (seed, epoch,
step): all batches of an epoch are planned at once, so that starting at any step
costs the same.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tfllm import stateless
from tfllm.data.epochs import EpochSteps

_MULTIPLE = 8  # of widths, which suits vector units
_WORTH = 0.97  # another width must reduce tokens to at most this share

# Streams of random numbers.
_EXAMPLES, _BATCHES, _CLASSES = range(3)


class Plan(NamedTuple):
    """The examples of a batch, and its width.

    Attributes:
        examples: int64 [B], numbers of examples.
        width: Tokens of a padded row, T.
    """

    examples: np.ndarray
    width: int


def choose_widths(
    lengths: np.ndarray, longest: int, max_widths: int
) -> np.ndarray:
    """Chooses the widths of batches.

    Args:
        lengths: int64 [N], tokens of the examples.
        longest: Largest width.
        max_widths: Number of widths at most.

    Returns:
        int64, rising multiples of 8 (or `longest`) up to the longest example:
        the widths that pad least, and fewer if more would gain little.
    """
    rounded = np.minimum(-(-lengths // _MULTIPLE) * _MULTIPLE, longest)
    widths, counts = np.unique(rounded, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    # costs[i]: least tokens of rows up to widths[i], with that width chosen.
    costs = widths * below[1:]
    chosen = [[i] for i in range(len(widths))]
    best, answer = math.inf, [len(widths) - 1]
    for _ in range(max_widths):
        if costs[-1] > _WORTH * best:
            break
        best, answer = costs[-1], chosen[-1]
        last, before = costs, chosen
        costs, chosen = last.copy(), list(before)
        for i in range(1, len(widths)):
            totals = last[:i] + widths[i] * (below[i + 1] - below[1 : i + 1])
            j = int(np.argmin(totals))
            if totals[j] < costs[i]:
                costs[i], chosen[i] = totals[j], [*before[j], i]
    return widths[answer]


class BucketedEpochs(EpochSteps):
    """Epochs over examples in batches of similar length.

    Each epoch has every example once, except for the remainder that does not
    fill a batch; it differs from epoch to epoch.

    Args:
        lengths: int64 [N], tokens of the examples.
        widths: Rising widths of batches.
        batch_size: Examples per batch.
        seed: Seed of the order.
        classes: int [N], class of each example, to draw all classes equally
            often: an epoch has N examples, equally many per class. Examples
            of a class come in random order, all before one is repeated.
            None: each example once.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        widths: np.ndarray,
        batch_size: int,
        seed: int,
        classes: np.ndarray | None = None,
    ) -> None:
        super().__init__(len(lengths), batch_size)
        self.widths = widths
        self._buckets = np.searchsorted(widths, lengths)
        self._seed = seed
        self._members = None
        if classes is not None:
            self._members = [
                np.flatnonzero(classes == name) for name in np.unique(classes)
            ]

    def plans(self, start_step: int) -> Iterator[Plan]:
        """Yields batches in training order, without end.

        Args:
            start_step: Batches already seen.
        """
        steps = self.steps_per_epoch
        epoch, step = divmod(start_step, steps)
        while True:
            order = self._order(epoch)[: steps * self.batch_size]
            plans = self.cut(order)
            turn = stateless.permutation(steps, self._seed, epoch, _BATCHES)
            for number in turn[step:]:
                yield plans[number]
            epoch, step = epoch + 1, 0

    def cut(self, order: np.ndarray) -> list[Plan]:
        """Cuts examples into batches, narrow ones first.

        Args:
            order: int64, examples; those of one width keep this order.

        Returns:
            The batches; the last may not be full.
        """
        buckets = self._buckets[order]
        sorted_ = order[np.argsort(buckets, kind="stable")]
        plans = []
        for start in range(0, len(sorted_), self.batch_size):
            examples = sorted_[start : start + self.batch_size]
            # The last example is the widest.
            plans.append(
                Plan(examples, int(self.widths[self._buckets[examples[-1]]]))
            )
        return plans

    def _order(self, epoch: int) -> np.ndarray:
        """Returns the examples of an epoch in random order."""
        if self._members is None:
            return stateless.permutation(
                self.num_examples, self._seed, epoch, _EXAMPLES
            )
        drawn = _balanced(
            self._members,
            self.num_examples,
            epoch,
            lambda size, *parts: stateless.permutation(
                size, self._seed, *parts, _CLASSES
            ),
        )
        order = stateless.permutation(len(drawn), self._seed, epoch, _EXAMPLES)
        return drawn[order]


def _balanced(
    members: list[np.ndarray],
    count: int,
    epoch: int,
    permutation: Callable[..., np.ndarray],
) -> np.ndarray:
    """Draws equally many examples of each class for an epoch.

    Args:
        members: Examples of each class.
        count: Examples to draw.
        epoch: The epoch.
        permutation: (size, class, pass) -> a random order.
    """
    # Draws are numbered through all epochs, and take the classes in turn.
    draws = np.arange(epoch * count, (epoch + 1) * count)
    drawn = []
    for number, examples in enumerate(members):
        turns = draws[draws % len(members) == number] // len(members)
        passes, places = np.divmod(turns, len(examples))
        for i in np.unique(passes):
            order = permutation(len(examples), number, int(i))
            drawn.append(examples[order[places[passes == i]]])
    return np.concatenate(drawn)
