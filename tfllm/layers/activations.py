"""Activation functions by their name in a config."""

from collections.abc import Callable
from typing import Any

from keras import ops


def gelu(x: Any) -> Any:
    """Returns x * Phi(x), exact (Hendrycks and Gimpel, 2016)."""
    return ops.gelu(x, approximate=False)


def gelu_tanh(x: Any) -> Any:
    """Returns the tanh approximation of GELU (same paper, section 2)."""
    return ops.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": ops.relu,
    "silu": ops.silu,
    "tanh": ops.tanh,
}
