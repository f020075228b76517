"""The order of examples."""

import itertools

import numpy as np
import pytest

from tfllm.data.epochs import Epochs

COUNTS, BATCH = [4, 4, 4, 3], 2
# One of the 15 rows is left out of each epoch.
PER_EPOCH = 14


def rows(start_step: int, count: int, most: int = 3) -> list[tuple[int, int]]:
    """(row, epoch) of the first rows from a step on."""
    epochs = Epochs(COUNTS, BATCH, seed=5, units_per_group=2)
    parts = epochs.row_numbers(start_step, most)
    flat = ((int(number), epoch) for part, epoch in parts for number in part)
    return list(itertools.islice(flat, count))


def test_an_epoch_has_each_row_once() -> None:
    found = rows(0, 2 * PER_EPOCH)
    for epoch in (0, 1):
        part = found[epoch * PER_EPOCH : (epoch + 1) * PER_EPOCH]
        assert {number for number, _ in part} <= set(range(sum(COUNTS)))
        assert len({number for number, _ in part}) == PER_EPOCH
        assert {which for _, which in part} == {epoch}
    assert found[:PER_EPOCH] != found[PER_EPOCH:]


@pytest.mark.parametrize("step", [1, 6, 7, 20])
def test_any_step_is_found(step: int) -> None:
    whole = rows(0, step * BATCH + 9)
    assert rows(step, 9) == whole[step * BATCH :]
    assert rows(step, 9, most=99) == whole[step * BATCH :]


def test_parts_are_small() -> None:
    epochs = Epochs(COUNTS, BATCH, seed=5, units_per_group=2)
    sizes = [
        len(part) for part, _ in itertools.islice(epochs.row_numbers(0, 3), 9)
    ]
    assert max(sizes) == 3
    assert np.min(sizes) > 0
