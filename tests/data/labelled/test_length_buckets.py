"""Tests of tfllm.data.labelled.length_buckets."""

import itertools

import numpy as np
import pytest

from tfllm.data.labelled.length_buckets import (
    BucketedEpochs,
    Plan,
    choose_widths,
)


def take(epochs: BucketedEpochs, start: int, count: int) -> list[Plan]:
    return list(itertools.islice(epochs.plans(start), count))


def padded(lengths: np.ndarray, widths: np.ndarray) -> int:
    return int(widths[np.searchsorted(widths, lengths)].sum())


def test_widths_are_the_best_there_are() -> None:
    rng = np.random.default_rng(0)
    for longest in (50, 64):
        lengths = np.minimum(rng.geometric(0.08, 300) + 2, longest)
        rounded = np.minimum(-(-lengths // 8) * 8, longest)
        candidates = np.unique(rounded)
        widths = choose_widths(lengths, longest, 3)
        assert len(widths) == 3
        best = min(
            padded(lengths, np.array([*choice, candidates[-1]]))
            for choice in itertools.combinations(candidates[:-1], 2)
        )
        assert padded(lengths, widths) == best


def test_widths_that_gain_little_are_left_out() -> None:
    assert choose_widths(np.full(9, 13), 128, 6).tolist() == [16]
    assert choose_widths(np.array([3] * 99 + [120]), 120, 6).tolist() == [
        8,
        120,
    ]
    assert choose_widths(np.array([8, 128] * 50), 128, 1).tolist() == [128]


def test_an_epoch_holds_every_example_once() -> None:
    lengths = np.random.default_rng(1).integers(1, 40, 96)
    widths = np.array([8, 24, 40])
    epochs = BucketedEpochs(lengths, widths, 8, seed=5)
    assert epochs.steps_per_epoch == 12
    orders = []
    for epoch in range(3):
        plans = take(epochs, 12 * epoch, 12)
        examples = np.concatenate([plan.examples for plan in plans])
        assert sorted(examples) == list(range(96))
        orders.append(examples.tolist())
        mixed = 0
        for plan in plans:
            own = widths[np.searchsorted(widths, lengths[plan.examples])]
            assert plan.width == own.max()
            mixed += len(set(own)) > 1
        assert mixed <= len(widths) - 1
    assert orders[0] != orders[1] != orders[2]


def test_the_remainder_differs_from_epoch_to_epoch() -> None:
    epochs = BucketedEpochs(np.arange(1, 12), np.array([16]), 4, seed=0)
    left = [
        frozenset(range(11))
        - set(np.concatenate([p.examples for p in take(epochs, 2 * i, 2)]))
        for i in range(6)
    ]
    assert all(len(rest) == 3 for rest in left)
    assert len(set(left)) > 1
    epochs = BucketedEpochs(np.arange(1, 12), np.array([16]), 12, seed=0)
    with pytest.raises(ValueError, match="Received: 12"):
        _ = epochs.steps_per_epoch


@pytest.mark.parametrize("balanced", [False, True])
def test_any_step_can_be_the_first(balanced: bool) -> None:
    lengths = np.random.default_rng(2).integers(1, 16, 30)
    epochs = BucketedEpochs(
        lengths,
        np.array([8, 16]),
        4,
        seed=9,
        classes=np.arange(30) % 3 if balanced else None,
    )
    whole = take(epochs, 0, 30)
    for start in (1, 6, 7, 15):
        for plan, other in zip(
            take(epochs, start, 9), whole[start:], strict=False
        ):
            assert plan.examples.tolist() == other.examples.tolist()
            assert plan.width == other.width


def test_balanced_epochs_draw_each_class_equally() -> None:
    classes = np.array([0] * 27 + [1] * 3)
    epochs = BucketedEpochs(np.ones(30, np.int64), np.array([8]), 5, 0, classes)
    drawn = np.concatenate([p.examples for p in take(epochs, 0, 6 * 9)])
    counts = np.bincount(drawn, minlength=30)
    assert np.bincount(classes[drawn]).tolist() == [135, 135]
    # In nine epochs: 135 draws of 27 examples and of 3.
    assert counts.tolist() == [5] * 27 + [45] * 3
