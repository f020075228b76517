"""Rotary positions in config.json: both dialects, every kind."""

from typing import Any

import pytest

from tfllm.layers import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RotaryConfig,
    YarnScaling,
)
from tfllm.models.published_rotary import read_rotary, write_rotary

SCALINGS = [
    None,
    LinearScaling(2.0),
    DynamicScaling(2.0, 64),
    YarnScaling(2.0, 32, 16.0, 2.0, 1.5, 0.5, 0.7, False),
    YarnScaling(4.0, 16),
    Llama3Scaling(8.0, 32, 1.5, 3.0),
    LongRopeScaling(32, (1.0, 2.0), (3.0, 4.0), 1.2),
]
V5 = ("rope_parameters",)
V4 = ("rope_theta", "rope_scaling", "partial_rotary_factor")


@pytest.mark.parametrize("dialect", [V4, V5, V4 + V5], ids=len)
@pytest.mark.parametrize(
    "scaling", SCALINGS, ids=lambda s: s.type if s else "none"
)
def test_round_trip(scaling: Any, dialect: tuple[str, ...]) -> None:
    config = RotaryConfig(4, theta=500.0, scaling=scaling)
    for head_size in (4, 8):
        written = write_rotary(config, head_size)
        values = {k: v for k, v in written.items() if k in dialect}
        assert read_rotary(values, head_size, 64) == config


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, RotaryConfig(8)),
        ({"rope_theta": 5e5, "rope_scaling": None}, RotaryConfig(8, 5e5)),
        # Llama 2 of 2023.
        (
            {"rope_scaling": {"type": "linear", "factor": 4.0}},
            RotaryConfig(8, scaling=LinearScaling(4.0)),
        ),
        # Llama 3.1.
        (
            {
                "rope_theta": 5e5,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 16,
                },
            },
            RotaryConfig(8, 5e5, Llama3Scaling(8.0, 16)),
        ),
        # Phi 3: the old length stands outside, and says the factor.
        (
            {
                "original_max_position_embeddings": 16,
                "rope_scaling": {
                    "type": "longrope",
                    "short_factor": [1.0, 1.0, 1.0, 1.0],
                    "long_factor": [2.0, 2.0, 2.0, 2.0],
                },
            },
            RotaryConfig(
                8,
                scaling=LongRopeScaling(16, (1.0,) * 4, (2.0,) * 4, 1.5**0.5),
            ),
        ),
    ],
)
def test_files_of_others(values: Any, expected: RotaryConfig) -> None:
    assert read_rotary(values, 8, 64) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_theta": -1}, "`rope_theta`.*-1"),
        ({"rope_scaling": "linear"}, "`rope_scaling`.*'linear'"),
        ({"rope_scaling": {"type": "su"}}, "kind of `rope_scaling`.*'su'"),
        (
            {"rope_scaling": {"type": "linear"}},
            "`rope_scaling` of the kind 'linear' must have a `factor`.*no such",
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": None}},
            "`rope_parameters` of the kind 'llama3' must have a `factor`",
        ),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "`factor`.*0"),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 5e5}}},
            r"`rope_parameters`.*`full_attention` \{'rope_theta': 500000\.0",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "beta_fast": "32"}},
            "`beta_fast`.*'32'",
        ),
        (
            {"rope_parameters": {"rope_type": "longrope"}},
            "`short_factor`.*None",
        ),
    ],
)
def test_bad_values_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_rotary(values, 8, 64)
