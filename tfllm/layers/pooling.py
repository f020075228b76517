"""Pooling: one vector for a sequence, and a projection of it."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from keras import ops

from tfllm.layers.activations import ACTIVATIONS
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.fields import check_literals, check_positive
from tfllm.layers.linear import Linear, take_positions

# Below every number of a hidden state.
_LOWEST = -1e30


def last_token(x: Any, padding_mask: Any = None) -> Any:
    """Returns the vector of the last real token.

    Args:
        x: float [B, T, D].
        padding_mask: int32 or bool [B, T], true for real tokens, or None if
            all are real. Padding may be on either side.

    Returns:
        float [B, D].
    """
    if padding_mask is None:
        return x[:, -1]
    places = ops.arange(ops.shape(x)[1], dtype="int32")
    last = ops.max(places * ops.cast(padding_mask, "int32"), axis=1)  # [B]
    return take_positions(x, ops.expand_dims(last, 1))[:, 0]  # [B, D]


def mean_of_tokens(x: Any, padding_mask: Any = None) -> Any:
    """Returns the mean over the real tokens; zero if there are none.

    Args:
        x: float [B, T, D].
        padding_mask: As in `last_token`.

    Returns:
        float32 [B, D].
    """
    x = ops.cast(x, "float32")
    if padding_mask is None:
        return ops.mean(x, axis=1)
    weights = ops.cast(padding_mask, "float32")
    total = ops.sum(weights, axis=1, keepdims=True)
    weights = weights / ops.maximum(total, 1.0)
    pooled = ops.matmul(ops.expand_dims(weights, 1), x)  # [B, 1, D]
    return ops.squeeze(pooled, 1)


def first_token(x: Any, padding_mask: Any = None) -> Any:
    """Returns the vector of the first token.

    Args:
        x: float [B, T, D].
        padding_mask: Not read: rows that open with [CLS] are padded on the
            right.

    Returns:
        float [B, D].
    """
    return x[:, 0]


def max_of_tokens(x: Any, padding_mask: Any = None) -> Any:
    """Returns the largest value of each component over the real tokens.

    Args:
        x: float [B, T, D].
        padding_mask: As in `last_token`.

    Returns:
        float32 [B, D].
    """
    x = ops.cast(x, "float32")
    if padding_mask is None:
        return ops.max(x, axis=1)
    real = ops.expand_dims(ops.cast(padding_mask, "bool"), 2)  # [B, T, 1]
    return ops.max(ops.where(real, x, _LOWEST), axis=1)


def mean_by_root_length(x: Any, padding_mask: Any = None) -> Any:
    """Returns the sum of the real tokens by the root of their number.

    Args:
        x: float [B, T, D].
        padding_mask: As in `last_token`.

    Returns:
        float32 [B, D].
    """
    count = ops.sum(_weights(x, padding_mask), axis=1, keepdims=True)
    return mean_of_tokens(x, padding_mask) * ops.sqrt(count)


def weighted_mean_of_tokens(x: Any, padding_mask: Any = None) -> Any:
    """Returns the mean over the real tokens, with weight i for the i-th.

    Args:
        x: float [B, T, D].
        padding_mask: As in `last_token`.

    Returns:
        float32 [B, D].

    Reference: Muennighoff, 2022, section 3 (SGPT).
    """
    weights = _weights(x, padding_mask)
    weights = weights * ops.cumsum(weights, axis=1)
    total = ops.sum(weights, axis=1, keepdims=True)
    weights = weights / ops.maximum(total, 1.0)
    x = ops.cast(x, "float32")
    pooled = ops.matmul(ops.expand_dims(weights, 1), x)  # [B, 1, D]
    return ops.squeeze(pooled, 1)


def _weights(x: Any, padding_mask: Any) -> Any:
    """Returns float32 [B, T], 1 for real tokens."""
    if padding_mask is None:
        return ops.ones_like(x[:, :, 0], dtype="float32")
    return ops.cast(padding_mask, "float32")


Pooling = Literal[
    "mean", "cls", "last", "max", "mean_sqrt_len", "weighted_mean"
]
POOLINGS: dict[Pooling, Callable[..., Any]] = {
    "mean": mean_of_tokens,
    "cls": first_token,
    "last": last_token,
    "max": max_of_tokens,
    "mean_sqrt_len": mean_by_root_length,
    "weighted_mean": weighted_mean_of_tokens,
}


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """A dense layer on a pooled vector.

    Attributes:
        input_size: Width of the pooled vector.
        output_size: Width of the output.
        activation: Applied to the output.
        use_bias: Add a bias.
    """

    input_size: int
    output_size: int
    activation: Literal[
        "identity", "tanh", "relu", "gelu", "silu", "sigmoid"
    ] = "tanh"
    use_bias: bool = True

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "input_size", "output_size")
        if not isinstance(self.use_bias, bool):
            raise ValueError(
                f"`use_bias` must be true or false. Received: {self.use_bias!r}"
            )


class Projection(ConfiguredLayer):
    """A dense layer with an activation, float32 under any policy.

    Args:
        config: ProjectionConfig.

    Call args:
        x: float [B, input_size].

    Returns:
        float32 [B, output_size].

    Reference: Reimers and Gurevych, 2020, section 3 (a dense layer after
    the pooling).
    """

    config_class = ProjectionConfig

    def __init__(self, config: ProjectionConfig, **kwargs: Any) -> None:
        super().__init__(config, **{**kwargs, "dtype": "float32"})
        self.linear = Linear(
            config.input_size,
            config.output_size,
            use_bias=config.use_bias,
            name="linear",
            dtype="float32",
        )

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns the projected vector, float32 [B, output_size]."""
        x = self.linear(ops.cast(x, "float32"))
        name = self.config.activation
        if name == "identity":
            return x
        if name == "sigmoid":
            return ops.sigmoid(x)
        return ACTIVATIONS[name](x, training=training)


def unit_length(x: Any) -> Any:
    """Returns float32 x [..., D] divided by its Euclidean norm."""
    squared = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squared, 1e-24))
