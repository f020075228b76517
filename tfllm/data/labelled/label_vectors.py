"""Label vectors: labels in files as 0 or 1 for each label.

A vector is a list of numbers in JSON, or text such as "[1, 0]", "1 0" or
"1. 0."; in a table each label may have a column. Reading one needs the names of
the labels, in order. If a label name is a number, numbers are names, not
vectors.
"""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from tfllm.data.bad_records import BadRecord

_NUMBER = r"[+-]?\d+\.?\d*(?:[eE][+-]?\d+)?"
# As `print` shows an array, without commas.
_SPACED = re.compile(
    rf"\[?\s*{_NUMBER}(?:\s+{_NUMBER})+\s*\]?|\[\s*{_NUMBER}\s*\]"
)
_BITS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


def as_list(text: str) -> list[Any] | None:
    """Parses a list in JSON, Python or NumPy notation.

    Args:
        text: Text of a field.

    Returns:
        The list; None if the text is not a list.
    """
    text = text.strip()
    if _SPACED.fullmatch(text):
        parts = text.strip("[]").split()
        return [int(p) if p.isdecimal() else float(p) for p in parts]
    if text.startswith("[") and text.endswith("]"):
        for read in (json.loads, ast.literal_eval):
            try:
                return list(read(text))
            except (ValueError, SyntaxError, TypeError):
                continue
    return None


def numbers_of(items: Sequence[Any]) -> tuple[float, ...] | None:
    """Returns the numbers of a list; None if an item is not a number."""
    numbers = []
    for item in items:
        is_text = isinstance(item, str)
        if is_text and not re.fullmatch(_NUMBER, item.strip()):
            return None
        if not is_text and not isinstance(item, bool | int | float):
            return None
        numbers.append(float(item))
    return tuple(numbers) or None


def are_names(labels: Sequence[str]) -> bool:
    """Returns whether labels have names, none of which is a number."""
    return bool(labels) and not any(map(is_number, labels))


def is_number(name: str) -> bool:
    """Returns whether the name of a label is a number."""
    return re.fullmatch(_NUMBER, name) is not None


def names_of(vector: Sequence[float], labels: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the labels whose number is 1.

    Args:
        vector: A number per label.
        labels: Label names in the same order.

    Raises:
        BadRecord: The vector has another length, or numbers besides 0 and 1.
    """
    shown = [int(number) if number in (0, 1) else number for number in vector]
    if not {0, 1}.issuperset(shown):
        raise BadRecord(
            "a vector of labels must hold 0 or 1 per label, and no scores or "
            f"other numbers, not {shown}"
        )
    if len(vector) != len(labels):
        raise BadRecord(
            f"a vector of labels must hold a number for each of the "
            f"{len(labels)} labels, {', '.join(labels)}, not {shown}"
        )
    return tuple(
        name for name, number in zip(labels, vector, strict=True) if number
    )


def bit(value: Any, column: str) -> float:
    """Returns the 0 or 1 in the column of a label.

    Raises:
        BadRecord: The value is neither.
    """
    text = str(value).strip().lower()
    number = _BITS.get(re.sub(r"^([01])\.0*$", r"\1", text))
    if number is None:
        raise BadRecord(
            f"column {column!r} of a label must hold 0 or 1, not {value!r}"
        )
    return number
