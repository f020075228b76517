"""Packs one or two ragged segments into the dense inputs of an encoder.

Core ragged ops only, so that an exported preprocessor loads on every TF
Serving; the trimmer ops of tensorflow_text need 2.20.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def pack_inputs(
    segments: Sequence[tf.RaggedTensor],
    seq_length: int,
    cls_id: int,
    sep_id: int,
    pad_id: int,
    *,
    pad_to_longest: bool = False,
) -> dict[str, tf.Tensor]:
    """Builds `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, cut and padded.

    A pair that is too long is cut longest-first, as the `tokenizers` package
    and Transformers' fast tokenizers do: the longer segment is shortened to
    the room that the shorter one leaves, but not below half of it; if both
    are longer than half, each gets half, and the longer one (the second if
    they are equal) the odd token.

    Args:
        segments: One or two, each int32 ragged [N, (tokens)], without special
            tokens.
        seq_length: Longest row, special tokens included.
        cls_id: Id that opens a row.
        sep_id: Id that closes a segment.
        pad_id: Id that fills a row.
        pad_to_longest: Whether T is the longest row of the batch instead of
            `seq_length`.

    Returns:
        token_ids, segment_ids and padding_mask (1 = real), each int32 [N, T].

    Raises:
        ValueError: There are not one or two segments, or `seq_length` leaves
            no room for them.
    """
    if len(segments) not in (1, 2):
        raise ValueError(
            "`segments` must hold one or two ragged tensors. Received: "
            f"{len(segments)}. Join the others first."
        )
    budget = seq_length - len(segments) - 1
    if budget < len(segments):
        raise ValueError(
            "`seq_length` must leave room for a token of each segment beside "
            f"the special tokens. Received: {seq_length}. Use at least "
            f"{2 * len(segments) + 1}."
        )
    lengths = [tf.cast(part.row_lengths(), tf.int32) for part in segments]
    pieces, kinds = [], []
    for index, limit in enumerate(_limits(lengths, budget)):
        part = _truncate(tf.cast(segments[index], tf.int32), limit)
        ends = tf.fill([part.nrows(), 1], sep_id)
        opens = [] if index else [tf.fill(tf.shape(ends), cls_id)]
        piece = tf.concat([*opens, part, ends], axis=1)
        pieces.append(piece)
        kinds.append(tf.ones_like(piece) * index)
    token_ids = tf.concat(pieces, axis=1)
    segment_ids = tf.concat(kinds, axis=1)
    shape = None if pad_to_longest else [None, seq_length]
    return {
        "token_ids": token_ids.to_tensor(pad_id, shape=shape),
        "segment_ids": segment_ids.to_tensor(0, shape=shape),
        "padding_mask": tf.ones_like(token_ids).to_tensor(0, shape=shape),
    }


def _limits(lengths: list[tf.Tensor], budget: int) -> list[tf.Tensor]:
    """Returns how many tokens of each segment stay, int32 [N] each."""
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


def _truncate(part: tf.RaggedTensor, limit: tf.Tensor) -> tf.RaggedTensor:
    """Keeps the first `limit` tokens of each row."""
    place = tf.range(tf.size(part.flat_values, tf.int64))
    place -= tf.gather(part.row_starts(), part.value_rowids())
    keep = tf.cast(place, tf.int32) < tf.gather(limit, part.value_rowids())
    return tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(part.flat_values, keep), limit, validate=False
    ).with_row_splits_dtype(part.row_splits.dtype)
