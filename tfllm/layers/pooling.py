"""One vector out of those of a sequence."""

from typing import Any

from keras import ops

from tfllm.layers.linear import take_positions


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
    last = ops.max(places * ops.cast(padding_mask, "int32"), axis=1)
    return take_positions(x, ops.expand_dims(last, 1))[:, 0]


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
    return ops.squeeze(ops.matmul(ops.expand_dims(weights, 1), x), 1)


def unit_length(x: Any) -> Any:
    """Returns float32 x [..., D] divided by its Euclidean norm."""
    squared = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squared, 1e-24))
