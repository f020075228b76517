"""Rotary positions: queries and keys rotated by angles of their positions.

Reference: Su et al., "RoFormer", 2021; scaling: see the config of each kind.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfllm.layers.linear import take_positions
from tfllm.layers.position_config import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RotaryConfig,
    YarnScaling,
)


class Rotation(NamedTuple):
    """Cosines and sines of rotary positions, for the attention of every block.

    Attributes:
        cos: float32 [B or 1, 1, T, R / 2], cosines for keys, times the factor
            of the scaling.
        sin: float32 [B or 1, 1, T, R / 2], sines for keys.
        query_cos: float32 [B or 1, 1, T or P, R / 2], cosines for queries.
        query_sin: float32 [B or 1, 1, T or P, R / 2], sines for queries.
    """

    cos: Any
    sin: Any
    query_cos: Any
    query_sin: Any

    def at(self, output_positions: Any) -> "Rotation":
        """Returns the rotation of the queries int32 [B, P] and all keys."""

        def taken(x: Any) -> Any:
            batch = ops.shape(output_positions)[0]
            shape = (batch, *ops.shape(x)[2:])
            x = ops.broadcast_to(x[:, 0], shape)  # [B, T, R / 2]
            x = take_positions(x, output_positions)  # [B, P, R / 2]
            return ops.expand_dims(x, 1)  # [B, 1, P, R / 2]

        return self._replace(
            query_cos=taken(self.query_cos), query_sin=taken(self.query_sin)
        )


def create_rotation(config: RotaryConfig, position_ids: Any) -> Rotation:
    """Returns the cosines and sines of positions.

    Args:
        config: RotaryConfig.
        position_ids: int32 [B or 1, T].

    Numerics: angles in float32 under any policy.
    """
    frequencies, factor = _frequencies(config, position_ids)
    x = ops.cast(position_ids, "float32")[:, None, :, None]  # [B, 1, T, 1]
    angles = x * frequencies  # [B, 1, T, R / 2]
    cos, sin = ops.cos(angles), ops.sin(angles)
    if factor != 1.0:
        cos, sin = cos * factor, sin * factor
    return Rotation(cos, sin, cos, sin)


def rotate(x: Any, cos: Any, sin: Any) -> Any:
    """Rotates the pairs (i, i + R / 2) of the first R components.

    Args:
        x: float [B, N, T, H].
        cos: float32 [B or 1, 1, T, R / 2].
        sin: float32 [B or 1, 1, T, R / 2].

    Returns:
        float [B, N, T, H], dtype of x.

    Numerics: float32 under any policy.
    """
    half, dtype = cos.shape[-1], x.dtype
    first = ops.cast(x[..., :half], "float32")
    second = ops.cast(x[..., half : 2 * half], "float32")  # [B, N, T, R / 2]
    turned = ops.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )  # [B, N, T, R]
    turned = ops.cast(turned, dtype)
    if x.shape[-1] == 2 * half:
        return turned
    rest = x[..., 2 * half :]  # [B, N, T, H - R]
    return ops.concatenate([turned, rest], axis=-1)  # [B, N, T, H]


def _frequencies(config: RotaryConfig, position_ids: Any) -> tuple[Any, float]:
    """Returns angles per position, float32 [R / 2], and the factor.

    The factor multiplies sines and cosines.
    """
    scaling, size = config.scaling, config.rotary_size
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    base = (1.0 / np.power(np.float32(config.theta), exponents)).astype(
        np.float32
    )
    if scaling is None:
        return base, 1.0
    if isinstance(scaling, LinearScaling):
        return base / np.float32(scaling.factor), 1.0
    if isinstance(scaling, Llama3Scaling):
        return _llama3(scaling, base), 1.0
    if isinstance(scaling, YarnScaling):
        return _yarn(scaling, config, base), _yarn_factor(scaling)
    length = ops.cast(ops.max(position_ids) + 1, "float32")
    if isinstance(scaling, DynamicScaling):
        return _dynamic(scaling, config, length, exponents), 1.0
    assert isinstance(scaling, LongRopeScaling)
    short, long = (
        (base / np.array(factors, np.float32)).astype(np.float32)
        for factors in (scaling.short_factors, scaling.long_factors)
    )
    chosen = ops.where(length > scaling.original_length, long, short)
    return chosen, scaling.attention_factor


def _dynamic(
    scaling: DynamicScaling, config: RotaryConfig, length: Any, exponents: Any
) -> Any:
    """Returns dynamic NTK frequencies: the base grows with the length."""
    size = config.rotary_size
    length = ops.maximum(length, float(scaling.original_length))
    growth = scaling.factor * length / scaling.original_length - (
        scaling.factor - 1.0
    )
    theta = config.theta * ops.power(growth, size / (size - 2.0))
    return 1.0 / ops.power(theta, exponents)


def _llama3(scaling: Llama3Scaling, base: np.ndarray) -> np.ndarray:
    """Returns Llama 3 frequencies: divided if the wavelength is long."""
    waves = 2.0 * math.pi / base
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    # 0 for the longest wavelengths, 1 for the shortest.
    share = np.clip(
        (scaling.original_length / waves - low) / (high - low), 0.0, 1.0
    )
    scaled = (1.0 - share) * base / scaling.factor + share * base
    return scaled.astype(np.float32)


def _yarn(
    scaling: YarnScaling, config: RotaryConfig, base: np.ndarray
) -> np.ndarray:
    """Returns YaRN frequencies: divided if slow in pretraining."""
    size = config.rotary_size

    def dimension(turns: float) -> float:
        """Returns the dimension with that many turns in pretraining."""
        wave = scaling.original_length / (turns * 2.0 * math.pi)
        return size * math.log(wave) / (2.0 * math.log(config.theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(size // 2) - low) / (high - low), 0.0, 1.0)
    scaled = base / scaling.factor * ramp + base * (1.0 - ramp)
    return scaled.astype(np.float32)


def _yarn_factor(scaling: YarnScaling) -> float:
    """Returns the factor on sines and cosines."""
    if scaling.attention_factor is not None:
        return scaling.attention_factor

    def factor_of(weight: float) -> float:
        if scaling.factor <= 1.0:
            return 1.0
        return 0.1 * weight * math.log(scaling.factor) + 1.0

    if scaling.mscale and scaling.mscale_all_dim:
        return factor_of(scaling.mscale) / factor_of(scaling.mscale_all_dim)
    return factor_of(1.0)
