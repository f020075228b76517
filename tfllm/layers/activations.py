"""Activation functions by their name in a config."""

from collections.abc import Callable
from typing import Any

from keras import ops

from tfllm.layers.hand_gradients import gelu, gelu_tanh

# Functions of x and of `training`: whether a gradient will be computed.
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": lambda x, training=False: ops.relu(x),
    "silu": lambda x, training=False: ops.silu(x),
    "tanh": lambda x, training=False: ops.tanh(x),
}
