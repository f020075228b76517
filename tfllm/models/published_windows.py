"""Sliding windows of attention in a published config.json.

`layer_types` says which layers have the window of `sliding_window`. Older
files of some families lack it, and say with `max_window_layers` how many
layers, from the first on, attend to all positions.
"""

from collections.abc import Mapping
from typing import Any

from tfllm.models.published import MAX_LAYERS, MAX_ROWS, PublishedConfig
from tfllm.models.published_keys import Field
from tfllm.models.stack_config import StackConfig

FULL, SLIDING = "full_attention", "sliding_attention"

# `PublishedKeys.keys` of families that have a window in some layers, with the
# defaults of Transformers.
KEYS: dict[str, tuple[str, Any]] = {
    "use_sliding_window": ("has_window", False),
    "sliding_window": ("window", 4096),
    "max_window_layers": ("num_full_layers", 28),
    "layer_types": ("layer_types", None),
}


def _optional_count(values: PublishedConfig, key: str, default: Any) -> Any:
    """Reads a number of keys; null means all."""
    return values.optional_count(key, MAX_ROWS, default)


def _not_negative(values: PublishedConfig, key: str, default: Any) -> Any:
    """Reads a number of layers."""
    return values.count(key, default, MAX_LAYERS, least=0)


def _num_full_layers(stack: StackConfig) -> int:
    """Returns the number of layers before the first one with a window."""
    windows = [stack.window_of(i) for i in range(stack.num_layers)]
    return sum(not any(windows[: i + 1]) for i in range(stack.num_layers))


def _layer_types(stack: StackConfig) -> list[str]:
    """Returns the type of each layer."""
    return [
        SLIDING if stack.window_of(i) else FULL for i in range(stack.num_layers)
    ]


# `PublishedKeys.fields`; `read_windows` makes arguments of `config()` of them.
FIELDS = {
    "window": Field(_optional_count, "block.attention.window"),
    "has_window": Field(
        PublishedConfig.flag,
        "block.attention.window",
        lambda window: window is not None,
    ),
    "num_full_layers": Field(_not_negative, "stack", _num_full_layers),
    "layer_types": Field(lambda *_: None, "stack", _layer_types),
}


def read_windows(
    values: Mapping[str, Any], arguments: Mapping[str, Any], family: str
) -> dict[str, Any]:
    """Returns arguments of `config()`, checked against `layer_types`.

    Args:
        values: The object in the file.
        arguments: What the keys of the family say: `window` if it has any,
            and the others of `KEYS` if windows differ between its layers.
        family: Its name, for messages.

    Raises:
        ValueError: `layer_types` is no list of known types, one for each
            layer, or the family has no such layers.
    """
    arguments = dict(arguments)
    count, window = arguments["num_layers"], arguments.get("window")
    differ = "num_full_layers" in arguments
    if not arguments.pop("has_window", True):
        window = None
    first = arguments.pop("num_full_layers", 0)
    arguments.pop("layer_types", None)
    usual = [FULL if window is None else SLIDING] * count
    usual[: min(first, count)] = [FULL] * min(first, count)
    types = values.get("layer_types")
    if types is None:
        types = usual
    allowed = {FULL} if window is None else {FULL, SLIDING} & {*usual}
    if differ and window is not None:
        allowed = {FULL, SLIDING}
    if (
        not isinstance(types, list)
        or len(types) != count
        or not all(isinstance(t, str) and t in allowed for t in types)
    ):
        raise ValueError(
            f"`layer_types` must be {count} of {sorted(allowed)}, one for each "
            f"layer, in the family {family} with this `sliding_window`, "
            f"{window}. Received: {types!r}"
        )
    if "window" not in arguments:
        return arguments
    full = tuple(i for i, kind in enumerate(types) if kind == FULL)
    arguments["window"] = window if len(full) < count else None
    if differ:
        arguments["full_attention_layers"] = full if len(full) < count else ()
    return arguments
