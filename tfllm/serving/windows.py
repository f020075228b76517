"""Texts of any length as rows of a model, in the graph.

Core ops only. The rule is that of `tfllm.data.labelled.rows.windows`: windows
begin every `stride` tokens, and the last one is the first that reaches the end.
"""

from typing import NamedTuple

import tensorflow as tf

# Rows are padded up to a multiple of it: few shapes, and little padding.
WIDTH_STEP = 8


class Windows(NamedTuple):
    """Parts of texts.

    Attributes:
        ids: int32 ragged [N, (tokens)].
        texts: int64 [N], the text of each.
        starts: int64 [N], its first token in the text.
        firsts: int64 [B], the first window of each text.
        counts: int64 [B], windows of each text, at least 1.
    """

    ids: tf.RaggedTensor
    texts: tf.Tensor
    starts: tf.Tensor
    firsts: tf.Tensor
    counts: tf.Tensor


def stride_of(stride: int, room: int) -> int:
    """Returns the tokens from one window to the next.

    Args:
        stride: What was asked for; 0 for half of a row.
        room: Tokens of text in a row.

    Raises:
        ValueError: There is no room, or windows would leave tokens out.
    """
    if room < 1 or stride > room:
        raise ValueError(
            "`seq_length` must leave room for text beside the special tokens, "
            "and `stride` must be at most that room. Received: a room of "
            f"{room} tokens and stride={stride}"
        )
    return stride or max(room // 2, 1)


def slide(ids: tf.RaggedTensor, room: tf.Tensor | int, stride: int) -> Windows:
    """Lays windows over texts.

    Args:
        ids: int32 ragged [B, (tokens)].
        room: Tokens of a window: one number, or int64 [B].
        stride: Tokens from one window to the next.
    """
    lengths = tf.cast(ids.row_lengths(), tf.int64)
    room = tf.broadcast_to(tf.cast(room, tf.int64), tf.shape(lengths))
    steps = tf.minimum(tf.cast(stride, tf.int64), room)
    counts = 1 + tf.maximum(-((room - lengths) // steps), 0)
    texts = tf.repeat(tf.range(tf.size(counts, tf.int64)), counts)
    firsts = tf.cumsum(counts, exclusive=True)
    number = tf.range(tf.size(texts, tf.int64)) - tf.gather(firsts, texts)
    starts = number * tf.gather(steps, texts)
    sizes = tf.minimum(
        tf.gather(lengths, texts) - starts, tf.gather(room, texts)
    )
    begins = tf.gather(tf.cast(ids.row_starts(), tf.int64), texts) + starts
    places = tf.ragged.range(begins, begins + sizes)
    return Windows(
        places.with_flat_values(tf.gather(ids.flat_values, places.flat_values)),
        texts,
        starts,
        firsts,
        counts,
    )


def pad(
    rows: dict[str, tf.RaggedTensor],
    pad_values: dict[str, int],
    max_length: int | None,
) -> dict[str, tf.Tensor]:
    """Returns dense rows [N, T] and their `padding_mask`.

    Args:
        rows: Ragged int32 [N, (tokens)], by name, all of one shape.
        pad_values: What fills each of them up.
        max_length: T at most; None if there is no limit.
    """
    first = next(iter(rows.values()))
    longest = tf.cast(tf.maximum(first.bounding_shape()[1], 1), tf.int32)
    width = -(-longest // WIDTH_STEP) * WIDTH_STEP
    if max_length is not None:
        width = tf.minimum(width, max_length)
    shape = tf.stack([tf.cast(first.nrows(), tf.int32), width])
    dense = {
        name: _dense(part, pad_values[name], shape)
        for name, part in rows.items()
    }
    mask = _dense(
        first.with_flat_values(tf.ones_like(first.flat_values)), 0, shape
    )
    return {**dense, "padding_mask": mask}


def unpad(token_ids: tf.Tensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """Returns the first `lengths` ids of each row, int32 ragged."""
    width = tf.shape(token_ids)[1]
    lengths = tf.clip_by_value(lengths, 0, width)
    return tf.RaggedTensor.from_tensor(token_ids, lengths)


def _dense(part: tf.RaggedTensor, value: int, shape: tf.Tensor) -> tf.Tensor:
    """Returns a ragged tensor as one of a shape that a run tells."""
    flat = part.flat_values
    rows = tf.cast(part.value_rowids(), tf.int32)
    columns = tf.range(tf.size(flat)) - tf.cast(
        tf.gather(part.row_starts(), rows), tf.int32
    )
    filled = tf.fill(shape, tf.cast(value, flat.dtype))
    filled = tf.ensure_shape(filled, [None, None])
    return tf.tensor_scatter_nd_update(
        filled, tf.stack([rows, columns], axis=1), flat
    )
