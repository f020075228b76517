"""Reads label names from fields; maps them to ids; weights classes."""

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfllm.data.bad_records import BadRecord, UnclearRecord
from tfllm.data.labelled import label_vectors

_SHOWN = 20
_UNNAMED = (
    "The labels of a vector must have names. Received: {!r} and no --labels. "
    "Name the labels in its order with --labels=...; if each label has a "
    "column, list those in --label_column."
)


def label_name(value: Any) -> str:
    """Returns a label of any JSON type as a name.

    Raises:
        BadRecord: The value is neither a name nor a number.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float) and str(value).strip():
        return str(value).strip()
    raise BadRecord(f"the label must be a name or number, not {value!r}")


def class_name(value: Any, labels: Sequence[str] = ()) -> str:
    """Returns the label of a field with one label, by name or one-hot.

    Args:
        value: Value of the field.
        labels: Names of all labels in order, if known.

    Raises:
        BadRecord: The value is not a label, or a vector that is not one-hot.
        UnclearRecord: The value is a vector, but labels have no names.
    """
    listed = label_vectors.as_list(value) if isinstance(value, str) else value
    vector = isinstance(listed, list) and label_vectors.numbers_of(listed)
    if not vector:
        return label_name(value)
    if not label_vectors.are_names(labels):
        raise UnclearRecord(_UNNAMED.format(value))
    names = label_vectors.names_of(vector, labels)
    if len(names) != 1:
        raise BadRecord(
            f"a text has one label, not {len(names)} as in {value!r}; "
            "--task=multi_label takes several"
        )
    return names[0]


def label_names(
    value: Any, separator: str, labels: Sequence[str] = ()
) -> tuple[str, ...]:
    """Returns the labels of a field that may have several.

    Args:
        value: A list, the text of a list, or names with separators. With
            `labels`, numbers are a vector; see `label_vectors`.
        separator: Separator between names.
        labels: Names of all labels in order, if known.

    Raises:
        BadRecord: An item is not a label, or a label occurs twice.
        UnclearRecord: The value is a vector, but labels have no names.
    """
    items = value
    named = label_vectors.are_names(labels)
    if isinstance(value, str):
        is_list = named or value.lstrip().startswith("[")
        items = label_vectors.as_list(value) if is_list else None
        if items is None:
            items = _split_names(value, separator)
    if not isinstance(items, list):
        raise BadRecord(f"the labels must be a list or text, not {value!r}")
    vector = label_vectors.numbers_of(items)
    if vector and named:
        return label_vectors.names_of(vector, labels)
    names = tuple(label_name(item) for item in items)
    twice = len(set(names)) < len(names)
    if vector and (twice or any(isinstance(i, bool | float) for i in items)):
        raise UnclearRecord(_UNNAMED.format(value))
    if any(map(label_vectors.as_list, names)):  # "1 0"
        raise UnclearRecord(_UNNAMED.format(value))
    if twice:
        raise BadRecord(f"a label stands twice in {', '.join(names)}")
    return names


def _split_names(text: str, separator: str) -> list[str]:
    """Splits text at separators; one may follow the last part."""
    parts = text.split(separator) if text.strip() else []
    return parts[:-1] if parts and not parts[-1].strip() else parts


def label_number(value: Any) -> float:
    """Returns the gold number of a regression.

    Raises:
        BadRecord: The value is not a finite number.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadRecord(f"the label must be a finite number, not {value!r}")
    return number


def sort_names(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the different names, sorted; as numbers if all are integers."""
    unique = set(names)
    if all(name.removeprefix("-").isdecimal() for name in unique):
        return tuple(sorted(unique, key=lambda name: (int(name), name)))
    return tuple(sorted(unique))


class Labels:
    """Label names in the order of their ids.

    Args:
        names: The names.

    Raises:
        ValueError: A name occurs twice or is blank.
    """

    def __init__(self, names: Sequence[str]) -> None:
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
            BadRecord: The label is unknown.
        """
        if name in self._ids:
            return self._ids[name]
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.0)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        if label_vectors.is_number(name) and label_vectors.are_names(
            self.names
        ):
            hint = "; the file must give names, not their numbers"
        shown = ", ".join(self.names[:_SHOWN])
        more = len(self.names) - _SHOWN
        rest = f" and {more} more" if more > 0 else ""
        raise BadRecord(
            f"the label {name!r} is unknown; the labels are {shown}{rest}{hint}"
        )


def class_weights(
    setting: str, labels: Labels, counts: np.ndarray
) -> np.ndarray:
    """Returns a weight per label.

    Args:
        setting: "": all weights are 1. "balanced": inverse to the counts,
            with a mean of 1 over the examples. "name=2,...": 1 for labels
            that are not named.
        labels: The labels, L.
        counts: int64 [L], examples of each label.

    Returns:
        float32 [L].

    Raises:
        ValueError: The setting has another form.
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
