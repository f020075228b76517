"""Names of labels: found, checked, turned into numbers, weighed."""

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfllm.data.bad_records import BadRecord

_SHOWN = 20


def label_name(value: Any) -> str:
    """Returns a label as it is written, whatever its type in JSON.

    Raises:
        BadRecord: The value is no label.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float) and str(value).strip():
        return str(value).strip()
    raise BadRecord(f"the label must be a name or number, not {value!r}")


def label_names(value: Any, separator: str) -> tuple[str, ...]:
    """Returns the labels of a list, or of a text that separators cut.

    Raises:
        BadRecord: The value holds what is no label, or a label twice.
    """
    if isinstance(value, str):
        parts = value.split(separator) if value.strip() else []
        # A separator at the end closes the last label.
        value = parts[:-1] if parts and not parts[-1].strip() else parts
    if not isinstance(value, list):
        raise BadRecord(f"the labels must be a list or text, not {value!r}")
    names = tuple(label_name(item) for item in value)
    if len(set(names)) < len(names):
        raise BadRecord(f"a label stands twice in {', '.join(names)}")
    return names


def label_number(value: Any) -> float:
    """Returns the value of a regression.

    Raises:
        BadRecord: It is no finite number.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadRecord(f"the label must be a finite number, not {value!r}")
    return number


def sort_names(names: Iterable[str]) -> tuple[str, ...]:
    """Returns each name once: as numbers if all are integers, else as text."""
    found = set(names)
    if all(name.removeprefix("-").isdecimal() for name in found):
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


class Labels:
    """Label names in the order of their ids.

    Args:
        names: The names.

    Raises:
        ValueError: A name stands twice or is blank.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """See the class."""
        self.names = tuple(names)
        self._ids = {name: i for i, name in enumerate(self.names)}
        if len(self._ids) < len(self.names) or not all(
            name.strip() for name in self.names
        ):
            raise ValueError(
                "`labels` must be different names. Received: "
                f"{', '.join(self.names)}."
            )

    def id_of(self, name: str) -> int:
        """Returns the id of a name.

        Raises:
            BadRecord: There is no such label.
        """
        if name in self._ids:
            return self._ids[name]
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]!r}" if near else ""
        shown = ", ".join(self.names[:_SHOWN])
        more = len(self.names) - _SHOWN
        rest = f" and {more} more" if more > 0 else ""
        raise BadRecord(
            f"the label {name!r} is none of those there are: {shown}{rest}"
            f"{hint}"
        )


def class_weights(
    setting: str, labels: Labels, counts: np.ndarray
) -> np.ndarray:
    """Returns a weight per label.

    Args:
        setting: Empty: one each. "balanced": in inverse proportion to the
            counts, with a mean of one over the examples. Else "name=2,...":
            one where not named.
        labels: The labels, L.
        counts: int64 [L], examples of each.

    Returns:
        float32 [L].

    Raises:
        ValueError: The setting is no such list.
    """
    weights = np.ones(len(labels.names), np.float32)
    if setting == "balanced":
        present = counts > 0
        weights[present] = counts.sum() / (counts[present] * present.sum())
        return weights
    for part in filter(None, setting.split(",")):
        name, _, value = part.rpartition("=")
        try:
            weight = float(value)
            number = labels.id_of(name.strip())
        except ValueError as error:  # also BadRecord
            raise ValueError(
                "`class_weights` must be 'balanced' or LABEL=WEIGHT,... "
                f"Received: {part!r} ({error})."
            ) from None
        if not 0 <= weight < math.inf:
            raise ValueError(
                "`class_weights` must be finite and not negative. "
                f"Received: {part!r}."
            )
        weights[number] = weight
    return weights
