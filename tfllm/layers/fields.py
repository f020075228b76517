"""Fields of config dataclasses: checks, and nested plain dicts for JSON."""

import dataclasses
import math
import types
import typing
from typing import Any, Literal, TypeVar

ConfigT = TypeVar("ConfigT")

# Key of `to_dict` that tells the members of a union of configs apart. Each
# member has a class attribute of this name.
TYPE = "type"


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a config dataclass as nested plain dicts, ready for JSON."""
    values = {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
    }
    return {TYPE: config.type, **values} if hasattr(config, TYPE) else values


def _plain(value: Any) -> Any:
    """Returns a field's value in its JSON form."""
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return list(value) if isinstance(value, tuple) else value


def from_dict(cls: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """Builds a config from nested dicts, as `to_dict` returns them.

    Args:
        cls: The dataclass to build.
        values: Field values; nested configs as dicts.

    Returns:
        An instance of `cls`.

    Raises:
        ValueError: `values` has an unknown name, or an unknown type of a
            union.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    rest = {k: v for k, v in values.items() if k != TYPE}
    unknown = sorted(set(rest) - known)
    if unknown:
        raise ValueError(
            f"`{cls.__name__}` has no such fields; known are "
            f"{sorted(known)}. Received: {unknown}"
        )
    return cls(**{name: _built(hints[name], v) for name, v in rest.items()})


def _built(hint: Any, value: Any) -> Any:
    """Returns the value of a field from its JSON form."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (types.UnionType, typing.Union)
        else (hint,)
    )
    nested: list[Any] = [o for o in options if dataclasses.is_dataclass(o)]
    if len(nested) > 1:
        by_type = {option.type: option for option in nested}
        if value.get(TYPE) not in by_type:
            raise ValueError(
                f"`{TYPE}` must be one of {sorted(by_type)}. "
                f"Received: {value.get(TYPE)!r}"
            )
        nested = [by_type[value[TYPE]]]
    return from_dict(nested[0], value) if nested else value


def check_literals(config: Any) -> None:
    """Raises ValueError if a `Literal` field holds another value."""
    for name, hint in typing.get_type_hints(type(config)).items():
        if typing.get_origin(hint) is Literal:
            allowed = typing.get_args(hint)
            if getattr(config, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {list(allowed)}. "
                    f"Received: {getattr(config, name)!r}"
                )


def check_positive(config: Any, *names: str) -> None:
    """Raises ValueError if one of the fields is not a positive integer."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {value!r}"
            )


def check_optional_positive(config: Any, *names: str) -> None:
    """Raises ValueError if a field is neither None nor a positive integer."""
    present = [name for name in names if getattr(config, name) is not None]
    check_positive(config, *present)


def check_not_negative(config: Any, *names: str) -> None:
    """Raises ValueError if one of the fields is not an integer from 0."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(
                f"`{name}` must be an integer of at least 0. "
                f"Received: {value!r}"
            )


def check_rate(config: Any, *names: str) -> None:
    """Raises ValueError if one of the fields is not in [0, 1)."""
    for name in names:
        value = getattr(config, name)
        if not is_finite(value) or not 0.0 <= value < 1.0:
            raise ValueError(
                f"`{name}` must be at least 0 and below 1. Received: {value!r}"
            )


def check_spread(config: Any, *names: str) -> None:
    """Raises ValueError if a standard deviation is not finite, or below 0.

    None is allowed: it stands for the deviation in another field.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not (is_finite(value) and value >= 0.0):
            raise ValueError(
                f"`{name}` must be a finite number of at least 0. "
                f"Received: {value!r}"
            )


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def check_positive_number(config: Any, *names: str) -> None:
    """Raises ValueError if a field is not a finite number above 0."""
    for name in names:
        value = getattr(config, name)
        if not is_finite(value) or value <= 0.0:
            raise ValueError(
                f"`{name}` must be positive and finite. Received: {value!r}"
            )
