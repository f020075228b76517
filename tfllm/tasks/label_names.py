"""Label names: checked, and as config.json has them."""

from collections.abc import Sequence
from typing import Any


def check_labels(labels: Sequence[str], minimum: int = 1) -> tuple[str, ...]:
    """Returns label names, in the order of their numbers.

    Args:
        labels: The names.
        minimum: How many there must be.

    Raises:
        ValueError: There are too few, or one is empty or stands twice.
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


def from_published(values: dict[str, Any]) -> tuple[str, ...]:
    """Returns the label names of a config.json.

    Without names they are LABEL_0, LABEL_1, ..., as many as `num_labels`
    says, 2 if it does not.

    Raises:
        ValueError: The numbers of `id2label` have gaps.
    """
    names = values.get("id2label")
    if not names:
        count = values.get("num_labels", 2)
        return tuple(f"LABEL_{i}" for i in range(count))
    by_number = {int(number): str(name) for number, name in names.items()}
    if sorted(by_number) != list(range(len(by_number))):
        raise ValueError(
            "the keys of `id2label` must be 0, 1, 2, ... "
            f"Received: {sorted(by_number)}. Correct config.json."
        )
    return tuple(by_number[i] for i in range(len(by_number)))
