"""Converts arrays and texts to NumPy arrays, and checks them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Names of the texts in a row.
TEXT_NAMES = (
    ("text",),
    ("text", "text_pair"),
    ("question", "context"),
    ("text", "choices"),
)


def as_arrays(values: Any, name: str) -> Any:
    """Converts lists, columns of tables and ragged tensors to arrays.

    Args:
        values: Array, list, column or tensor; or a dict or tuple of them.
        name: x, y or sample_weight, for errors.

    Raises:
        ValueError: Rows of a list have several lengths, or values are
            missing.
    """
    if isinstance(values, Mapping):
        return {key: as_arrays(value, name) for key, value in values.items()}
    if isinstance(values, tuple | list) and values:
        is_tuple = isinstance(values, tuple) and not is_scalar(values[0])
        if is_tuple or all(
            hasattr(v, "shape") and len(v.shape) for v in values
        ):
            return tuple(as_arrays(value, name) for value in values)
    if isinstance(values, tf.RaggedTensor):
        return values.to_tensor()
    if isinstance(values, tuple | list):
        return _checked(_stacked(values, name), name)
    # A column of pandas.
    if hasattr(values, "to_numpy"):
        return _checked(values.to_numpy(), name)
    return _checked(values, name)


def is_scalar(value: Any) -> bool:
    """Returns whether a value is a number, a text, or missing."""
    return value is None or isinstance(
        value, str | bytes | int | float | np.generic
    )


def is_text(values: Any) -> bool:
    """Returns whether values are texts, in a list, an array or a tensor.

    Some of them may be missing; `as_arrays` and the tokenizer refuse those.

    Args:
        values: Text, or list, array, tensor or column.
    """
    if isinstance(values, str | bytes):
        return True
    if isinstance(values, list | tuple):
        return any(is_text(value) for value in values)
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, tf.DType):
        return dtype == tf.string
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "US" or (
            values.dtype.kind == "O" and any(map(is_text, values.flat))
        )
    # A column of pandas.
    return (
        dtype is not None
        and hasattr(values, "to_numpy")
        and is_text(values.to_numpy(dtype=object))
    )


def read_texts(x: Any) -> dict[str, Any] | None:
    """Returns the texts in x by name, or None if x holds no texts.

    Args:
        x: Texts; a tuple of two for pairs of texts; or a dict with names of
            TEXT_NAMES.

    Raises:
        ValueError: Texts have other names, or are not in batches.
    """
    if isinstance(x, tuple | list) and len(x) == 1 and not is_scalar(x[0]):
        return read_texts(x[0])
    if isinstance(x, Mapping):
        parts = dict(x)
    elif isinstance(x, tuple | list) and len(x) == 2 and not is_scalar(x[0]):
        parts = {"text": x[0], "text_pair": x[1]}
    else:
        parts = {"text": x}
    if not any(map(is_text, parts.values())):
        return None
    names = next((n for n in TEXT_NAMES if set(n) == set(parts)), None)
    if names is None:
        raise ValueError(
            "texts in a dict must have one of the names "
            f"{[list(names) for names in TEXT_NAMES]}. "
            f"Received: {sorted(parts)}"
        )
    for name in names:
        rank = 2 if name == "choices" else 1
        if len(np.shape(parts[name])) != rank:
            raise ValueError(
                f"`{name}` must be a batch of texts, of rank {rank}. Received: "
                f"rank {len(np.shape(parts[name]))}. Give [text] for one text, "
                "batch a dataset, and give pairs as a tuple (texts, pairs)."
            )
    return {name: parts[name] for name in names}


def label_numbers(values: Any, labels: Sequence[str]) -> tf.Tensor:
    """Converts label names to their numbers, int32.

    Args:
        values: Names, an array or tensor of strings.
        labels: Names of the labels, in the order of their numbers.

    Raises:
        ValueError: A name is unknown; in a graph this is
            tf.errors.InvalidArgumentError.
    """
    names = tf.convert_to_tensor(values)
    matches = names[..., tf.newaxis] == tf.constant(list(labels))  # [..., L]
    is_known = tf.reduce_any(matches, axis=-1)
    if tf.executing_eagerly():
        unknown = np.asarray(names)[~np.asarray(is_known)]
        if unknown.size:
            raise ValueError(
                f"labels in y must be among {list(labels)}. "
                f"Received: {unknown.flat[0].decode()!r}"
            )
    else:
        tf.debugging.Assert(
            tf.reduce_all(is_known),
            [
                f"labels in y must be among {list(labels)}. Received:",
                tf.boolean_mask(names, ~is_known)[:1],
            ],
        )
    return tf.argmax(matches, axis=-1, output_type=tf.int32)


def _stacked(values: Sequence[Any], name: str) -> np.ndarray:
    """Converts a list to an array."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name} must have rows of one length: pad them. Received: a "
            "list of several lengths"
        ) from error


def _checked(values: Any, name: str) -> Any:
    """Returns an array; ValueError if it is empty or has missing values."""
    if not isinstance(values, np.ndarray):
        return values
    if not values.size:
        raise ValueError(f"{name} must have rows. Received: none")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise ValueError(
            f"{name} must be finite numbers. Received: "
            f"{values[row].tolist()} in row {row}"
        )
    if values.dtype.kind != "O":
        return values
    for row, value in enumerate(values.flat):
        if not isinstance(value, str | bytes | bool | int | float | np.generic):
            raise ValueError(
                f"{name} must not have missing values. Received: {value!r} in "
                f"row {row}"
            )
        if isinstance(value, float) and not np.isfinite(value):
            raise ValueError(
                f"{name} must not have missing values. Received: {value!r} in "
                f"row {row}"
            )
    # An array of objects becomes one of numbers or texts.
    kinds = {isinstance(value, str | bytes) for value in values.flat}
    if len(kinds) > 1:
        raise ValueError(
            f"{name} must be numbers or texts. Received: both in one array"
        )
    return values if kinds == {True} else np.array(values.tolist())
