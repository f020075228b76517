"""Rotary positions against numpy, frequencies against recorded values."""

from typing import Any

import numpy as np
import pytest
from keras import ops

from tfllm.layers import (
    Attention,
    AttentionConfig,
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RotaryConfig,
    YarnScaling,
)
from tfllm.layers.rotary import create_rotation, rotate

SHORT = (1.0, 1.0, 1.0, 1.0, 1.5, 1.5, 1.5, 2.0)
LONG = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
# Name -> scaling, length of the longest sequence, factor on sines and
# cosines, frequencies; from ROPE_INIT_FUNCTIONS of Transformers 5.23 with
# heads of 16 and theta 10000.
RECORDED: dict[str, tuple[Any, int, float, list[float]]] = {
    "none": (
        None,
        10,
        1.0,
        [1, 0.3162278, 0.1, 0.03162278, 0.01, 0.003162278, 0.001, 3.162278e-4],
    ),
    "linear": (
        LinearScaling(4.0),
        10,
        1.0,
        [
            *(0.25, 0.07905694, 0.025, 0.007905695),
            *(0.0025, 0.0007905695, 0.00025, 7.905695e-05),
        ],
    ),
    "dynamic": (
        DynamicScaling(2.0, 64),
        100,
        1.0,
        [
            *(1.0, 0.2839451, 0.08062484, 0.02289303),
            *(0.006500365, 0.001845747, 0.0005240909, 0.0001488131),
        ],
    ),
    "dynamic, short": (
        DynamicScaling(2.0, 64),
        10,
        1.0,
        [1, 0.3162278, 0.1, 0.03162278, 0.01, 0.003162278, 0.001, 3.162278e-4],
    ),
    "yarn": (
        YarnScaling(4.0, 32),
        10,
        1.138629436111989,
        [
            *(1.0, 0.1976424, 0.025, 0.007905695),
            *(0.0025, 0.0007905695, 0.00025, 7.905695e-05),
        ],
    ),
    "yarn, all fields": (
        YarnScaling(4.0, 32, 8.0, 2.0, None, 0.5, 0.7, False),
        10,
        0.9747266536088135,
        [
            *(1.0, 0.07905694, 0.025, 0.007905695),
            *(0.0025, 0.0007905695, 0.00025, 7.905695e-05),
        ],
    ),
    "llama3": (
        Llama3Scaling(8.0, 64),
        10,
        1.0,
        [
            *(1.0, 0.2443846, 0.01304226, 0.003952847),
            *(0.00125, 0.0003952847, 0.000125, 3.952847e-05),
        ],
    ),
    "longrope": (
        LongRopeScaling(32, SHORT, LONG, 1.0954451150103321),
        40,
        1.0954451150103321,
        [
            *(1.0, 0.1581139, 0.03333334, 0.007905695),
            *(0.002, 0.0005270463, 0.0001428571, 3.952847e-05),
        ],
    ),
    "longrope, short": (
        LongRopeScaling(32, SHORT, LONG, 1.0954451150103321),
        20,
        1.0954451150103321,
        [
            *(1.0, 0.3162278, 0.1, 0.03162278),
            *(0.006666667, 0.002108185, 0.0006666667, 0.0001581139),
        ],
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_frequencies_are_the_published_ones(name: str) -> None:
    scaling, length, factor, expected = RECORDED[name]
    config = RotaryConfig(16, scaling=scaling)
    ids = np.array([[0, 1, length - 1]], "int32")
    rotation = create_rotation(config, ids)
    angles = np.float32(ids[0][:, None]) * np.array(expected)
    for found, values in (
        (rotation.cos, np.cos(angles)),
        (rotation.sin, np.sin(angles)),
    ):
        found = ops.convert_to_numpy(found)[0, 0]
        np.testing.assert_allclose(found, factor * values, atol=2e-5)
    first = ops.convert_to_numpy(rotation.sin)[0, 0, 1]
    np.testing.assert_allclose(first, factor * np.sin(expected), rtol=2e-6)


def turned(x: np.ndarray, positions: np.ndarray, size: int) -> np.ndarray:
    """Complex numbers of the first `size` components, times exp(i angle)."""
    half = size // 2
    numbers = x[..., :half] + 1j * x[..., half:size]
    frequencies = 10000.0 ** (-np.arange(half) / half)
    numbers = numbers * np.exp(1j * positions[:, None] * frequencies)
    return np.concatenate([numbers.real, numbers.imag, x[..., size:]], axis=-1)


@pytest.mark.parametrize("size", [8, 6])
def test_pairs_turn_by_the_angle_of_their_position(size: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype("float32")
    ids = np.array([[0, 1, 2, 7, 30]], "int32")
    rotation = create_rotation(RotaryConfig(size), ids)
    y = ops.convert_to_numpy(rotate(x, rotation.cos, rotation.sin))
    np.testing.assert_allclose(y, turned(x, ids[0], size), atol=1e-5)


def test_attention_depends_on_the_distance_alone() -> None:
    layer = Attention(
        AttentionConfig(12, 2, num_kv_heads=1, initializer_range=0.5)
    )
    layer.build()
    x = np.random.default_rng(0).normal(size=(1, 4, 12)).astype("float32")
    config = RotaryConfig(4)

    def attend(start: int) -> np.ndarray:
        ids = start + np.arange(4, dtype="int32")[None]
        return ops.convert_to_numpy(
            layer(x, positions=create_rotation(config, ids))[0]
        )

    np.testing.assert_allclose(attend(0), attend(17), atol=1e-5)
    assert np.abs(attend(0) - ops.convert_to_numpy(layer(x)[0])).max() > 1e-2


def test_some_queries_alone() -> None:
    layer = Attention(AttentionConfig(12, 2, initializer_range=0.5))
    layer.build()
    x = np.random.default_rng(0).normal(size=(2, 4, 12)).astype("float32")
    rotation = create_rotation(RotaryConfig(6), np.arange(4)[None])
    whole = ops.convert_to_numpy(layer(x, positions=rotation)[0])
    chosen = np.array([[3, 0], [1, 2]], "int32")
    rows = np.take_along_axis(x, chosen[..., None], axis=1)
    found, _ = layer(x, queries_from=rows, positions=rotation.at(chosen))
    expected = np.take_along_axis(whole, chosen[..., None], axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: RotaryConfig(5), r"`rotary_size` must be even.*5"),
        (lambda: RotaryConfig(4, theta=0.0), r"`theta`.*0\.0"),
        (
            lambda: RotaryConfig(
                4, scaling=LongRopeScaling(8, (1.0,), (1.0, 2.0))
            ),
            r"must have 2 numbers.*\[1, 2\]",
        ),
        (lambda: LinearScaling(-1.0), r"`factor`.*-1\.0"),
        (lambda: Llama3Scaling(2.0, 8, 4.0, 1.0), r"`high_freq_factor`.*1\.0"),
        (lambda: YarnScaling(2.0, 0), r"`original_length`.*0"),
    ],
)
def test_bad_numbers_are_refused(create: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create()
