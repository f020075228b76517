"""Label names: their checks, and their form in config.json."""

from collections.abc import Mapping, Sequence
from typing import Any

# Limit for a config.json without names; more labels mean a damaged file.
MAX_LABELS = 2**20


def check_labels(labels: Sequence[str], minimum: int = 1) -> tuple[str, ...]:
    """Checks label names and returns them as a tuple.

    Args:
        labels: Names in the order of their numbers.
        minimum: Smallest number of labels.

    Raises:
        ValueError: There are too few names, or a name is empty or repeated.
    """
    if isinstance(labels, str) or not all(
        isinstance(name, str) and name for name in labels
    ):
        raise ValueError(
            f"`labels` must be names, none of them empty. Received: {labels!r}"
        )
    twice = sorted({name for name in labels if labels.count(name) > 1})
    if twice or len(labels) < minimum:
        raise ValueError(
            f"`labels` must be at least {minimum} names that all differ. "
            f"Received: {list(labels)}" + (f", twice: {twice}" * bool(twice))
        )
    return tuple(labels)


def to_published(labels: Sequence[str]) -> dict[str, Any]:
    """Returns the keys of config.json that hold label names."""
    return {
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def from_published(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the label names of a config.json.

    Default names are LABEL_0, LABEL_1, ..., for `num_labels` labels, or 2
    without that key.

    Args:
        values: Contents of config.json.

    Raises:
        ValueError: The numbers of `id2label` have gaps, or `num_labels` is
            not a number of labels.
    """
    names = values.get("id2label")
    if not names:
        count = values.get("num_labels", 2)
        is_integer = isinstance(count, int) and not isinstance(count, bool)
        if not is_integer or not 1 <= count <= MAX_LABELS:
            raise ValueError(
                f"`num_labels` must be an integer from 1 to {MAX_LABELS}. "
                f"Received: {count!r}. Correct config.json."
            )
        return tuple(f"LABEL_{i}" for i in range(count))
    if not isinstance(names, dict) or not all(
        str(number).isdecimal() for number in names
    ):
        raise ValueError(
            "`id2label` must be an object of numbers and names. "
            f"Received: {str(names)[:80]}. Correct config.json."
        )
    by_number = {int(number): str(name) for number, name in names.items()}
    if sorted(by_number) != list(range(len(by_number))):
        raise ValueError(
            "the keys of `id2label` must be 0, 1, 2, ... "
            f"Received: {sorted(by_number)}. Correct config.json."
        )
    return tuple(by_number[i] for i in range(len(by_number)))
