"""The types of a config's fields: what they take, and its one form."""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

TokenIds = tuple[int, ...]
_LEAST, _MOST = float(np.finfo("float32").tiny), float(np.finfo("float32").max)
_LARGEST = 2**31 - 1


def typed(name: str, kind: Any, value: Any) -> Any:
    """Returns the value of a field in the one form of its type.

    Args:
        name: The field.
        kind: Its annotation.
        value: What was given; one value or a list, where it holds several.

    Raises:
        ValueError: The value is of another type, or no finite number.
    """
    rule, convert = _TYPES[kind]
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"`{name}` must be {rule}. Received: {value!r}"
        ) from error


def _integer(value: Any) -> int:
    """Returns an integer of any library as Python's."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _id(value: Any) -> int:
    """Returns an integer that TensorFlow's int32 holds."""
    number = _integer(value)
    if not -_LARGEST <= number <= _LARGEST:
        raise OverflowError
    return number


def _number(value: Any) -> float:
    """Returns a number that is finite, and not 0, in float32 as well."""
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
    """Returns what turns one or several values, or none, into a tuple."""

    def convert(value: Any) -> tuple[Any, ...]:
        if value is None:
            return ()
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            value = (value,)
        return tuple(map(one, value))

    return convert


# The annotation of a field -> what it must be, and what brings it into form.
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
