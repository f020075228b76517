"""Sliding windows in config.json: which layers have one."""

from typing import Any

import pytest

from tfllm.models import FAMILIES

FULL, SLIDING = "full_attention", "sliding_attention"


def windows(family: str, **values: Any) -> list[int | None]:
    key = "num_hidden_layers"
    config = FAMILIES[family].from_published({key: 4, **values})
    return [config.stack.window_of(i) for i in range(4)]


@pytest.mark.parametrize(
    ("family", "values", "expected"),
    [
        ("llama", {"sliding_window": 8}, [None] * 4),
        ("mistral", {}, [4096] * 4),
        ("mistral", {"sliding_window": None}, [None] * 4),
        ("mistral", {"layer_types": [SLIDING] * 4}, [4096] * 4),
        (
            "mistral",
            {"sliding_window": None, "layer_types": [FULL] * 4},
            [None] * 4,
        ),
        ("qwen2", {"sliding_window": 8, "max_window_layers": 1}, [None] * 4),
        (
            "qwen2",
            {
                "use_sliding_window": True,
                "sliding_window": 8,
                "max_window_layers": 1,
            },
            [None, 8, 8, 8],
        ),
        ("qwen2", {"use_sliding_window": True}, [None] * 4),
        (
            "qwen2",
            {
                "use_sliding_window": True,
                "sliding_window": 8,
                "layer_types": [SLIDING, FULL, FULL, SLIDING],
            },
            [8, None, None, 8],
        ),
    ],
)
def test_window_of_each_layer(
    family: str, values: dict[str, Any], expected: list[int | None]
) -> None:
    assert windows(family, **values) == expected


@pytest.mark.parametrize("full", [(), (0,), (1, 2)])
def test_layers_round_trip(full: tuple[int, ...]) -> None:
    family = FAMILIES["qwen2"]
    config = family.config(num_layers=3, window=8, full_attention_layers=full)
    published = family.to_published(config)
    assert published["max_window_layers"] == (1 if full == (0,) else 0)
    assert family.from_published(published) == config
    # Also from the files of older versions, where they can say it.
    if full != (1, 2):
        del published["layer_types"]
        assert family.from_published(published) == config
