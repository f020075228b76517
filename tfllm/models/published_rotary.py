"""Rotary positions in a published config.json, in both dialects.

Transformers 5 writes `rope_parameters`, with `rope_theta` in it. Transformers 4
wrote `rope_theta` and `rope_scaling`, whose kind is `rope_type` or, in older
files, `type`.
"""

import math
from collections.abc import Mapping
from typing import Any

from tfllm.layers.position_config import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RopeScaling,
    RotaryConfig,
    YarnScaling,
)
from tfllm.models.published import MAX_ROWS, PublishedConfig

KINDS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")


def read_rotary(
    values: Mapping[str, Any],
    head_size: int,
    max_length: int,
    theta: float = 10000.0,
) -> RotaryConfig:
    """Returns the rotary positions that a config.json describes.

    Args:
        values: The object in the file.
        head_size: Width of a head, H.
        max_length: Its `max_position_embeddings`.
        theta: Base if the file has none.

    Raises:
        ValueError: A value is out of its range, or a kind is unknown.
    """
    key = "rope_parameters" if values.get("rope_parameters") else "rope_scaling"
    parameters = values.get(key) or {}
    if not isinstance(parameters, Mapping):
        raise ValueError(
            f"`{key}` must be an object or null. Received: {parameters!r}"
        )
    for name, value in parameters.items():
        # Transformers 5 nests them by type of layer where types differ.
        if isinstance(value, Mapping):
            raise ValueError(
                f"`{key}` must be the same for all layers, without objects in "
                f"it. Received: `{name}` {value!r}"
            )
    whole = {
        name: values[name]
        for name in ("rope_theta", "partial_rotary_factor")
        if values.get(name) is not None
    }
    for name in whole:
        # Also where `rope_parameters` says it again, and wins.
        PublishedConfig(whole).number(name, 1.0)
    parameters = {
        **whole,
        **{k: v for k, v in parameters.items() if v is not None},
    }
    read = PublishedConfig(parameters)
    share = read.number("partial_rotary_factor", 1.0)
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in KINDS:
        raise ValueError(
            f"the kind of `{key}` must be one of {list(KINDS)}. "
            f"Received: {kind!r}"
        )
    old = parameters.get(
        "original_max_position_embeddings",
        values.get("original_max_position_embeddings"),
    )
    length = PublishedConfig({"original_max_position_embeddings": old})
    original = (
        length.optional_count("original_max_position_embeddings", MAX_ROWS)
        or max_length
    )
    return RotaryConfig(
        int(head_size * share),
        theta=read.number("rope_theta", theta),
        scaling=_scaling(key, kind, parameters, original, max_length),
    )


def _scaling(
    key: str,
    kind: str,
    parameters: Mapping[str, Any],
    original: int,
    max_length: int,
) -> RopeScaling | None:
    """Returns the scaling of a kind.

    Args:
        key: Key of the parameters, for messages.
        kind: One of `KINDS`.
        parameters: The parameters in the file.
        original: Longest sequence in pretraining.
        max_length: Longest sequence.
    """
    read = PublishedConfig(parameters)
    if kind == "default":
        return None
    if kind not in ("yarn", "longrope") and "factor" not in parameters:
        raise ValueError(
            f"`{key}` of the kind {kind!r} must have a `factor`. "
            "Received: no such key"
        )
    factor = read.number("factor", max_length / original)
    if kind == "linear":
        return LinearScaling(factor)
    if kind == "dynamic":
        return DynamicScaling(factor, max_length)
    if kind == "llama3":
        return Llama3Scaling(
            factor,
            original,
            read.number("low_freq_factor", 1.0),
            read.number("high_freq_factor", 4.0),
        )
    attention = parameters.get("attention_factor")
    if kind == "yarn":
        optional = {
            name: read.number(name, 0.0)
            for name in ("attention_factor", "mscale", "mscale_all_dim")
            if name in parameters
        }
        return YarnScaling(
            factor,
            original,
            read.number("beta_fast", 32.0),
            read.number("beta_slow", 1.0),
            truncate=read.flag("truncate", True),
            **optional,
        )
    if attention is None:
        attention = 1.0
        if factor > 1.0:
            attention = math.sqrt(1 + math.log(factor) / math.log(original))
    return LongRopeScaling(
        original,
        read.numbers("short_factor"),
        read.numbers("long_factor"),
        attention,
    )


def write_rotary(config: RotaryConfig, head_size: int) -> dict[str, Any]:
    """Returns the keys of a config.json, in both dialects.

    Args:
        config: The rotary positions.
        head_size: Width of a head, H.
    """
    parameters: dict[str, Any] = {"rope_type": "default"}
    scaling = config.scaling
    if scaling is not None:
        parameters = {
            "rope_type": scaling.type,
            **{
                _PUBLISHED.get(name, name): list(value)
                if isinstance(value, tuple)
                else value
                for name, value in vars(scaling).items()
                if value is not None
            },
        }
    if isinstance(scaling, DynamicScaling):
        # It is `max_position_embeddings`, written by the family.
        del parameters["original_max_position_embeddings"]
    partial: dict[str, float] = {}
    if config.rotary_size != head_size:
        partial = {"partial_rotary_factor": config.rotary_size / head_size}
    return {
        "rope_theta": config.theta,
        "rope_scaling": parameters if scaling is not None else None,
        "rope_parameters": {
            **parameters,
            "rope_theta": config.theta,
            **partial,
        },
        **partial,
    }


# Our names of fields -> published ones.
_PUBLISHED = {
    "original_length": "original_max_position_embeddings",
    "short_factors": "short_factor",
    "long_factors": "long_factor",
}
