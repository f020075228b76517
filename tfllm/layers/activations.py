"""Activation functions by their name in a config."""

from collections.abc import Callable
from typing import Any

from keras import ops

from tfllm.layers.hand_gradients import gelu, gelu_tanh

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": ops.relu,
    "silu": ops.silu,
    "tanh": ops.tanh,
}
