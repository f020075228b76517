"""Converts the texts of callers to string tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def as_strings(text: Any, name: str = "text") -> tf.Tensor:
    """Returns a text, or several, as a string tensor of UTF-8.

    Args:
        text: A str or bytes, a list of them, a NumPy array, a pandas Series,
            or a string tensor.
        name: The argument that holds it, for messages.

    Returns:
        string [] or [N].

    Raises:
        ValueError: It is not text, has more than one axis, or has half of a
            surrogate pair, which UTF-8 cannot encode.
    """
    if not tf.is_tensor(text):
        text = _from_python(text, name)
    if text.dtype != tf.string or text.shape.rank not in (0, 1):
        raise ValueError(
            f"`{name}` must be a string tensor of rank 0 or 1. Received: "
            f"{text.dtype.name} of shape {text.shape}. Reshape or batch it."
        )
    return text


def as_vector(text: Any) -> tf.Tensor:
    """Returns texts as string [N]; raises ValueError for other ranks."""
    text = as_strings(text)
    if text.shape.rank != 1:
        raise ValueError(
            "`text` must be a string tensor of rank 1. Received: "
            f"{text.dtype.name} of shape {text.shape}. Reshape or batch it."
        )
    return text


def utf8(text: str, place: str) -> bytes:
    """Encodes a text.

    Args:
        text: The text.
        place: Where it stands, for the message.

    Raises:
        ValueError: It has half of a surrogate pair, which JSON can spell and
            UTF-8 cannot.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{place} must be valid Unicode. Received: half of a surrogate "
            f"pair, {text[error.start]!a}, at character {error.start} "
            "(counted from 0). Remove it, or put U+FFFD in its place."
        ) from error


def _from_python(text: Any, name: str) -> tf.Tensor:
    """Returns Python or NumPy text as a string tensor."""
    if isinstance(text, str | bytes):
        return tf.constant(_encoded(text, f"`{name}`"))
    try:
        array = np.asarray(text, object)
    except ValueError:  # Lists of different lengths.
        array = np.empty((1, 1), object)
    if array.ndim != 1:
        raise ValueError(
            f"`{name}` must be a text or a flat list of texts. Received: "
            f"{_shown(text)}. Give second texts as `text_pair`."
        )
    encoded = [
        _encoded(item, f"`{name}[{place}]`") for place, item in enumerate(array)
    ]
    return tf.constant(encoded, tf.string, shape=[len(encoded)])


def _encoded(item: Any, place: str) -> bytes:
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str):
        raise ValueError(
            f"{place} must be text. Received: {_shown(item)}. Leave it out, "
            "or give it as a string."
        )
    return utf8(item, place)


def _shown(value: Any) -> str:
    """Returns a value, cut, and its type."""
    text = repr(value)
    cut = f"{text[:60]}..." if len(text) > 60 else text
    return f"{cut}, {type(value).__name__}"
