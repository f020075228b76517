"""Types of the fields of GenerationConfig: checks and conversion."""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, Literal

TokenIds = tuple[int, ...]
# Smallest normal number and largest number of float32.
_LEAST, _MOST = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127
_LARGEST = 2**31 - 1


def typed(name: str, kind: Any, value: Any) -> Any:
    """Converts the value of a field to its type.

    Args:
        name: Name of the field.
        kind: Annotation of the field.
        value: Value; fields of several values take one value or a list.

    Raises:
        ValueError: The value has another type, or is not a finite number.
    """
    rule, convert = _TYPES[kind]
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"`{name}` must be {rule}. Received: {value!r}"
        ) from error


def _integer(value: Any) -> int:
    """Converts an integer of any library to Python's."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _id(value: Any) -> int:
    """Returns an integer within the range of int32."""
    number = _integer(value)
    if not -_LARGEST <= number <= _LARGEST:
        raise OverflowError
    return number


def _number(value: Any) -> float:
    """Returns a number that float32 holds without overflow or underflow."""
    number = float(value)
    if isinstance(value, (bool, str, bytes)) or not math.isfinite(number):
        raise TypeError
    if number and not _LEAST <= abs(number) <= _MOST:
        raise OverflowError
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _several(one: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Returns a function that converts one, several or no values to a tuple."""

    def convert(value: Any) -> tuple[Any, ...]:
        if value is None:
            return ()
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            value = (value,)
        return tuple(map(one, value))

    return convert


# Annotation of a field -> rule for errors, and conversion.
_TYPES: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    int: ("an integer", _integer),
    float: ("a finite number of float32", _number),
    bool: ("true or false", _boolean),
    bool | Literal["never"]: (
        "true, false or 'never'",
        lambda value: value if value == "never" else _boolean(value),
    ),
    int | None: (
        "an id or null",
        lambda value: None if value is None else _id(value),
    ),
    TokenIds: ("an id or a list of ids", _several(_id)),
    tuple[TokenIds, ...]: (
        "a list of lists of ids",
        _several(lambda word: tuple(map(_id, word))),
    ),
    tuple[str, ...]: ("a text or a list of texts", _several(_text)),
}
