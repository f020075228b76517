"""Activation functions by their name in a config."""

from collections.abc import Callable
from typing import Any

from keras import ops

from tfllm.layers.hand_gradients import gelu


def gelu_tanh(x: Any) -> Any:
    """Returns the tanh form of GELU (Hendrycks and Gimpel, 2016, sec. 2)."""
    return ops.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": ops.relu,
    "silu": ops.silu,
    "tanh": ops.tanh,
}
