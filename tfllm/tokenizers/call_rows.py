"""Checks the options of a tokenizer call, and pads its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import tensorflow as tf

from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.rows import padded

Padding = bool | Literal["longest", "max_length"]
Ids: TypeAlias = "int | Sequence[Any] | np.ndarray | tf.Tensor"


def check_options(padding: Padding, cut: bool, max_length: int | None) -> None:
    """Raises ValueError for options that do not fit."""
    if padding not in (True, False, "longest", "max_length"):
        raise ValueError(
            "`padding` must be True, False, 'longest' or 'max_length'. "
            f"Received: {padding!r}"
        )
    if cut not in (True, False):
        raise ValueError(
            f"`truncation` must be True, False or None. Received: {cut!r}. "
            "Pairs are cut longest-first."
        )
    if max_length is None and (cut or padding == "max_length"):
        option = "truncation=True" if cut else "padding='max_length'"
        raise ValueError(
            f"`max_length` must be given with {option}. Received: None. Pass "
            "the tokens of a row, such as max_length=128."
        )


def check_pair(first: tf.Tensor, second: tf.Tensor) -> None:
    """Raises ValueError unless there is a second text for each first one."""
    if not first.shape.is_compatible_with(second.shape):
        raise ValueError(
            "`text_pair` must have a text for each of `text`. Received: "
            f"{second.shape} for {first.shape}."
        )


def without_empty_rows(
    rows: dict[str, tf.RaggedTensor], template: RowTemplate[int]
) -> dict[str, tf.RaggedTensor]:
    """Puts one padding token into rows without tokens."""
    if template.num_special(1):
        return rows
    fills = {"token_ids": template.pad, "padding_mask": 1}
    empty = tf.cast(rows["token_ids"].row_lengths() == 0, tf.int64)
    count = tf.cast(tf.reduce_sum(empty), tf.int32)
    filled = {}
    for name, part in rows.items():
        single = tf.RaggedTensor.from_row_lengths(
            tf.fill([count], fills.get(name, 0)), empty, validate=False
        )
        filled[name] = tf.concat([part, single], axis=1)
    return filled


def to_dense(
    rows: dict[str, tf.RaggedTensor],
    template: RowTemplate[int],
    padding: Padding,
    cut: bool,
    max_length: int | None,
) -> dict[str, tf.Tensor]:
    """Pads rows, to int32 [N, T] each."""
    if padding != "max_length":
        return padded(rows, template, None)
    if cut:
        return padded(rows, template, max_length)
    longest = tf.cast(rows["token_ids"].bounding_shape()[1], tf.int32)
    return padded(rows, template, tf.maximum(longest, max_length))


def as_rows(ids: Ids) -> tuple[list[list[int]], bool]:
    """Returns ids as lists, and whether there is only one row."""
    if isinstance(ids, tf.RaggedTensor):
        nested: Any = ids.to_list()
        is_single = False
    elif tf.is_tensor(ids) or isinstance(ids, np.ndarray):
        array: np.ndarray = np.asarray(ids)
        nested = np.atleast_1d(array).tolist()
        is_single = array.ndim < 2
    else:
        nested = [ids] if isinstance(ids, int | np.integer) else ids
        kinds = Sequence | np.ndarray | tf.Tensor
        is_single = not any(isinstance(row, kinds) for row in nested)
    rows = [list(row) for row in ([nested] if is_single else nested)]
    for row in rows:
        for token in row:
            if not isinstance(token, int | np.integer):
                raise ValueError(
                    "`ids` must be whole numbers in one or two axes. "
                    f"Received: {token!r}, {type(token).__name__}"
                )
    return rows, is_single
