"""Rows of one or two texts with the special tokens of a model, in the graph.

Core ragged ops only, so that an exported preprocessor loads on every TF
Serving; the trimmer ops of tensorflow_text need 2.20.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfllm.tokenizers.row_template import RowTemplate, Side

Template = RowTemplate[int]


def rows_of(
    texts: Sequence[tf.RaggedTensor],
    template: Template,
    max_length: int | None = None,
) -> dict[str, tf.RaggedTensor]:
    """Joins one or two texts to rows, and cuts those that are too long.

    A pair that is too long is cut longest-first, as the `tokenizers` package
    and Transformers' fast tokenizers do: the longer text is shortened to the
    room that the shorter one leaves, but not below half of it; if both are
    longer than half, each gets half, and the longer one (the second if they
    are equal) the odd token.

    Args:
        texts: One or two, each int32 ragged [N, (tokens)], without special
            tokens.
        template: The special tokens.
        max_length: Longest row, special tokens included; None: no limit.

    Returns:
        token_ids, padding_mask (1 throughout) and, if the model tells texts
        apart, segment_ids, each int32 ragged [N, (tokens)].

    Raises:
        ValueError: There are not one or two texts, or `max_length` leaves no
            room for them.
    """
    if len(texts) not in (1, 2):
        raise ValueError(
            "`texts` must hold one or two ragged tensors. Received: "
            f"{len(texts)}. Join the others first."
        )
    if max_length is not None:
        texts = _truncated(texts, template, max_length)
    parts: list[tf.RaggedTensor] = []
    segments: list[tf.RaggedTensor] = []
    for index, text in enumerate(texts):
        is_last = index == len(texts) - 1
        opens = template.opens if index == 0 else ()
        closes = template.closes if is_last else template.between
        size = text.nrows()
        part = tf.concat(
            [
                *(tf.fill([size, 1], token) for token in opens),
                tf.cast(text, tf.int32),
                *(tf.fill([size, 1], token) for token in closes),
            ],
            axis=1,
        )  # [N, (tokens)]
        parts.append(part)
        if template.segments is not None:
            segments += _segments(part, template, index, is_last)
    token_ids = tf.concat(parts, axis=1)
    rows = {
        "token_ids": token_ids,
        "padding_mask": tf.ones_like(token_ids),
    }
    if template.segments is not None:
        rows["segment_ids"] = tf.concat(segments, axis=1)
    return rows


def _segments(
    part: tf.RaggedTensor, template: Template, index: int, is_last: bool
) -> list[tf.RaggedTensor]:
    """Returns the segment ids of a text with its special tokens."""
    assert template.segments is not None
    kinds = tf.ones_like(part) * template.segments.of_text(index)
    if not is_last or template.segments.last is None or not template.closes:
        return [kinds]
    last = tf.fill([part.nrows(), 1], template.segments.last)
    return [kinds[:, :-1], last]


def padded(
    rows: dict[str, tf.RaggedTensor], template: Template, width: int | None
) -> dict[str, tf.Tensor]:
    """Fills rows up on the side that the template says.

    Args:
        rows: int32 ragged [N, (tokens)] each; see `rows_of`.
        template: Says what fills `token_ids` and `segment_ids`; the others
            get 0.
        width: T, not less than the longest row; None: the longest row.

    Returns:
        int32 [N, T] each.
    """
    fill = {"token_ids": template.pad}
    if template.segments is not None:
        fill["segment_ids"] = template.segments.pad
    return {
        name: filled(part, fill.get(name, 0), width, template.padding_side)
        for name, part in rows.items()
    }


def filled(
    rows: tf.RaggedTensor, value: int, width: int | None, side: Side
) -> tf.Tensor:
    """Fills rows up.

    Args:
        rows: Ragged [N, (tokens)].
        value: What fills them.
        width: T, not less than the longest row; None: the longest row.
        side: Where padding stands.

    Returns:
        [N, T].
    """
    shape = None if width is None else [None, width]
    if side == "right":
        return rows.to_tensor(value, shape=shape)
    return tf.reverse(rows[:, ::-1].to_tensor(value, shape=shape), [1])


def _truncated(
    texts: Sequence[tf.RaggedTensor], template: Template, max_length: int
) -> list[tf.RaggedTensor]:
    """Cuts texts so that their rows have at most `max_length` tokens."""
    budget = max_length - template.num_special(len(texts))
    if budget < len(texts):
        raise ValueError(
            "`max_length` must leave room for a token of each text beside the "
            f"special tokens. Received: {max_length}. Use at least "
            f"{max_length - budget + len(texts)}."
        )
    lengths = [tf.cast(text.row_lengths(), tf.int32) for text in texts]
    return [
        _first_tokens(text, limit)
        for text, limit in zip(texts, _limits(lengths, budget), strict=True)
    ]


def _limits(lengths: list[tf.Tensor], budget: int) -> list[tf.Tensor]:
    """Returns how many tokens of each text stay, int32 [N] each."""
    if len(lengths) == 1:
        return [tf.minimum(lengths[0], budget)]
    first, second = lengths
    half = budget // 2
    shorter = tf.minimum(tf.minimum(first, second), half)
    longer = tf.minimum(tf.maximum(first, second), budget - shorter)
    first_is_longer = first > second
    return [
        tf.where(first_is_longer, longer, shorter),
        tf.where(first_is_longer, shorter, longer),
    ]


def _first_tokens(text: tf.RaggedTensor, limit: tf.Tensor) -> tf.RaggedTensor:
    """Keeps the first `limit` tokens of each row."""
    place = tf.range(tf.size(text.flat_values, tf.int64))
    place -= tf.gather(text.row_starts(), text.value_rowids())
    keep = tf.cast(place, tf.int32) < tf.gather(limit, text.value_rowids())
    return tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(text.flat_values, keep), limit, validate=False
    ).with_row_splits_dtype(text.row_splits.dtype)
