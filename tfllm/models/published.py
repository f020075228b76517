"""Reads the values of a published config.json, and checks each of them."""

import math
from collections.abc import Mapping
from typing import Any

from tfllm.layers.config import Activation
from tfllm.models.config import TransformerConfig

# Published name of an activation -> ours.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}

# A file with larger numbers is damaged; no machine holds such a model.
MAX_LAYERS = 1000
MAX_WIDTH = 2**20
MAX_ROWS = 2**24
MAX_PARAMETERS = 2 * 10**11  # those of GPT-3

# Smallest positive normal number and largest finite number of float32.
_TINY, _HUGE = 2.0**-126, 3.4028234e38


class PublishedConfig:
    """Typed access to a config.json: each value is checked.

    A missing key has its default. Null is allowed if the default is None.

    Args:
        values: The object in the file.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def count(self, key: str, default: int, limit: int, least: int = 1) -> int:
        """Returns an integer from `least` to `limit`."""
        value = self._values.get(key, default)
        if not _is_integer(value) or not least <= value <= limit:
            raise _error(key, f"an integer from {least} to {limit}", value)
        return value

    def optional_count(
        self, key: str, limit: int, default: int | None = None
    ) -> int | None:
        """Returns an integer from 1 to `limit`, or None if it is null."""
        value = self._values.get(key, default)
        return None if value is None else self.count(key, value, limit)

    def limit(
        self, key: str, limit: int, default: int | None, off: tuple[Any, ...]
    ) -> int | None:
        """Returns an integer from 1 to `limit`; None for a value in `off`."""
        value = self._values.get(key, default)
        return None if value in off else self.count(key, value, limit)

    def rate(self, key: str, default: float) -> float:
        """Returns a number that is at least 0 and below 1."""
        value = self._values.get(key, default)
        if not _is_number(value) or not 0.0 <= value < 1.0:
            raise _error(key, "a number of at least 0 and below 1", value)
        return float(value)

    def optional_rate(self, key: str) -> float | None:
        """Returns a number that is at least 0 and below 1, or None."""
        return None if self._values.get(key) is None else self.rate(key, 0.0)

    def epsilon(self, key: str, default: float) -> float:
        """Returns a positive number of float32, 1 at most."""
        value = self._values.get(key, default)
        if not _is_number(value) or not _TINY <= value <= 1.0:
            raise _error(key, "a positive number of float32, 1 at most", value)
        return float(value)

    def spread(self, key: str, default: float) -> float:
        """Returns a standard deviation: a finite number of at least 0."""
        value = self._values.get(key, default)
        if not _is_number(value) or not 0.0 <= value <= _HUGE:
            raise _error(key, "a finite number of at least 0", value)
        return float(value)

    def number(self, key: str, default: float) -> float:
        """Returns a positive finite number."""
        value = self._values.get(key, default)
        if not _is_number(value) or not _TINY <= value <= _HUGE:
            raise _error(key, "a positive number", value)
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Returns a list of positive finite numbers."""
        value = self._values.get(key)
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise _error(key, "a list of numbers", value)
        return tuple(map(float, value))

    def flag(self, key: str, default: bool) -> bool:
        """Returns true or false."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise _error(key, "true or false", value)
        return value

    def token_id(self, key: str, default: int | None = None) -> int | None:
        """Returns the id of a token, or None."""
        value = self._values.get(key, default)
        if value is None or (_is_integer(value) and 0 <= value < 2**31):
            return value
        if isinstance(value, list):
            raise ValueError(
                f"`{key}` must be one id here; several that end a text stand "
                f"in generation_config.json. Received: {value}"
            )
        raise _error(key, "an id or null", value)

    def first_token_id(
        self, key: str, default: int | None = None
    ) -> int | None:
        """Returns the id of a token, the first of several, or None."""
        value = self._values.get(key, default)
        if isinstance(value, list) and value:
            return PublishedConfig({key: value[0]}).token_id(key)
        return self.token_id(key, default)

    def activation(
        self,
        key: str,
        default: str,
        names: Mapping[str, Activation] = ACTIVATIONS,
    ) -> Activation:
        """Returns the activation of one of the published names."""
        value = self._values.get(key, default)
        if not isinstance(value, str) or value not in names:
            raise _error(key, f"one of {sorted(names)}", value)
        return names[value]


def check_parameters(config: TransformerConfig) -> None:
    """Raises ValueError for a model that is too large for any machine."""
    width = config.hidden_size
    layers = sum(stack.num_layers for stack in config.stacks)
    rows = config.vocab_size + (config.max_length or 0)
    count = rows * width
    for stack in config.stacks:
        inner = stack.block.feed_forward.intermediate_size
        count += stack.num_layers * width * (4 * width + 2 * inner)
    if count > MAX_PARAMETERS:
        raise ValueError(
            f"a model must have at most {MAX_PARAMETERS:.0e} parameters. "
            f"Received: {count:.1e}, of {layers} layers of width "
            f"{width} and a vocabulary of {config.vocab_size}"
        )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _error(key: str, rule: str, value: Any) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) < 80 else f"{shown[:77]}..."
    return ValueError(f"`{key}` must be {rule}. Received: {shown}")
