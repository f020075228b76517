"""Which block a layer of a stack applies."""

from typing import Any

import pytest

from tfllm.layers.config import NormConfig
from tfllm.models import StackConfig
from tfllm.models.stacks import create_stack


def stack(num_layers: int, **groups: Any) -> StackConfig:
    return create_stack(9, num_layers, 2, NormConfig(8), None, **groups)


@pytest.mark.parametrize(
    ("groups", "blocks"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"num_groups": 1}, [0, 0, 0, 0, 0, 0, 0, 0]),
        ({"num_groups": 2}, [0, 0, 0, 0, 1, 1, 1, 1]),
        ({"num_groups": 2, "group_size": 2}, [0, 1, 0, 1, 2, 3, 2, 3]),
        ({"num_groups": 1, "group_size": 4}, [0, 1, 2, 3, 0, 1, 2, 3]),
    ],
)
def test_layers_apply_the_blocks_of_their_group(
    groups: dict[str, int], blocks: list[int]
) -> None:
    config = stack(8, **groups)
    assert [config.block_index(i) for i in range(8)] == blocks
    assert config.num_blocks == max(blocks) + 1
    assert config.num_group_calls == 8 // groups.get("group_size", 1)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"num_groups": 3}, "multiple of `num_groups`.*: 8, 3 and 1"),
        (
            {"num_groups": 2, "group_size": 3},
            "multiple of `num_groups`.*: 8, 2 and 3",
        ),
        ({"group_size": 2}, "`group_size` must be 1.*: 2"),
    ],
)
def test_groups_that_do_not_fit(groups: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stack(8, **groups)
