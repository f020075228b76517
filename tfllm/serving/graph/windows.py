"""Splits texts of any length into windows and pads rows, in the graph.

Core ops only. The rule is that of `tfllm.data.labelled.rows.windows`: windows
begin every `stride` tokens, and the last one is the first that reaches the end.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from tfllm.serving.signatures.served_task import Tensors
from tfllm.tokenizers.row_template import RowTemplate, Side

# Rows are padded to a multiple of it: few shapes and little padding.
WIDTH_STEP = 8
# Rows that a model runs on at once. It limits the memory of a long text, and a
# deadline can end a request between two steps.
ROWS_PER_STEP = 32


class Windows(NamedTuple):
    """Windows of texts.

    Attributes:
        ids: int32 ragged [N, (tokens)].
        texts: int64 [N], index of the text of each window.
        starts: int64 [N], position of its first token in the text.
        firsts: int64 [B], index of the first window of each text.
        counts: int64 [B], number of windows of each text, at least 1.
    """

    ids: tf.RaggedTensor
    texts: tf.Tensor
    starts: tf.Tensor
    firsts: tf.Tensor
    counts: tf.Tensor


def stride_of(stride: int, room: int) -> int:
    """Returns the tokens from one window to the next.

    Args:
        stride: Requested stride; 0 for half a row.
        room: Tokens of text in a row.

    Raises:
        ValueError: A row has no room, or windows would skip tokens.
    """
    if room < 1 or stride > room:
        raise ValueError(
            "`seq_length` must leave room for text beside the special tokens, "
            "and `stride` must be at most that room. Received: a room of "
            f"{room} tokens and stride={stride}"
        )
    return stride or max(room // 2, 1)


def slide(ids: tf.RaggedTensor, room: tf.Tensor | int, stride: int) -> Windows:
    """Splits texts into windows.

    Args:
        ids: int32 ragged [B, (tokens)].
        room: Tokens of a window: one number, or int64 [B].
        stride: Tokens from one window to the next.
    """
    lengths = tf.cast(ids.row_lengths(), tf.int64)
    room = tf.broadcast_to(tf.cast(room, tf.int64), tf.shape(lengths))
    steps = tf.minimum(tf.cast(stride, tf.int64), room)
    counts = 1 + tf.maximum(-((room - lengths) // steps), 0)
    # [B] -> [N]
    texts = tf.repeat(tf.range(tf.size(counts, tf.int64)), counts)
    firsts = tf.cumsum(counts, exclusive=True)
    number = tf.range(tf.size(texts, tf.int64)) - tf.gather(firsts, texts)
    starts = number * tf.gather(steps, texts)
    sizes = tf.minimum(
        tf.gather(lengths, texts) - starts, tf.gather(room, texts)
    )
    begins = tf.gather(tf.cast(ids.row_starts(), tf.int64), texts) + starts
    places = tf.ragged.range(begins, begins + sizes)  # [N, (tokens)]
    return Windows(
        places.with_flat_values(tf.gather(ids.flat_values, places.flat_values)),
        texts,
        starts,
        firsts,
        counts,
    )


def pad(
    rows: dict[str, tf.RaggedTensor],
    template: RowTemplate[int],
    max_length: int | None,
) -> dict[str, tf.Tensor]:
    """Returns padded rows and their `padding_mask`, int32 [N, T] each.

    Args:
        rows: int32 ragged [N, (tokens)] by name, all of one shape.
        template: Gives the padding ids and the side of padding.
        max_length: Largest T; None for no limit.
    """
    first = next(iter(rows.values()))
    longest = tf.cast(tf.maximum(first.bounding_shape()[1], 1), tf.int32)
    width = -(-longest // WIDTH_STEP) * WIDTH_STEP
    if max_length is not None:
        width = tf.minimum(width, max_length)
    shape = tf.stack([tf.cast(first.nrows(), tf.int32), width])
    ones = first.with_flat_values(tf.ones_like(first.flat_values))
    fill = {"token_ids": template.pad}
    if template.segments is not None:
        fill["segment_ids"] = template.segments.pad
    return {
        name: _dense(part, fill.get(name, 0), shape, template.padding_side)
        for name, part in {**rows, "padding_mask": ones}.items()
    }


def run_in_steps(
    call: Callable[[Tensors], Tensors],
    rows: Tensors,
    dtypes: Mapping[str, tf.DType],
) -> Tensors:
    """Runs a function on a few rows at a time.

    Args:
        call: Takes rows by name and returns outputs [R, ...] by name.
        rows: [R, ...] each, with the same R.
        dtypes: Name -> dtype of the outputs to return.
    """
    num_rows = tf.shape(next(iter(rows.values())))[0]
    # At least one step, even without rows: outputs need their shapes.
    num_steps = tf.maximum(-(-num_rows // ROWS_PER_STEP), 1)
    shapes: dict[str, tf.TensorShape] = {}

    def step(
        index: tf.Tensor, parts: dict[str, tf.TensorArray]
    ) -> tuple[tf.Tensor, dict[str, tf.TensorArray]]:
        start = index * ROWS_PER_STEP
        outputs = call(
            {k: row[start : start + ROWS_PER_STEP] for k, row in rows.items()}
        )
        shapes.update({name: outputs[name].shape for name in dtypes})
        written = {k: parts[k].write(index, outputs[k]) for k in dtypes}
        return index + 1, written

    _, parts = tf.while_loop(
        lambda index, _: index < num_steps,
        step,
        (
            0,
            {
                name: tf.TensorArray(dtype, num_steps, infer_shape=False)
                for name, dtype in dtypes.items()
            },
        ),
        parallel_iterations=1,
    )
    return {
        name: tf.ensure_shape(parts[name].concat(), [None, *shapes[name][1:]])
        for name in dtypes
    }


def unpad(token_ids: tf.Tensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """Removes the padding behind each row: [B, T] to ragged [B, (T)]."""
    width = tf.shape(token_ids)[1]
    lengths = tf.clip_by_value(lengths, 0, width)
    return tf.RaggedTensor.from_tensor(token_ids, lengths)


def _dense(
    part: tf.RaggedTensor, value: int, shape: tf.Tensor, side: Side
) -> tf.Tensor:
    """Returns ragged rows as a dense tensor [N, T].

    Args:
        part: Ragged [N, (tokens)].
        value: Padding value.
        shape: int32 [2], N and T.
        side: Side of the padding.
    """
    flat = part.flat_values
    rows = tf.cast(part.value_rowids(), tf.int32)
    begins = tf.cast(part.row_starts(), tf.int32)
    if side == "left":
        begins -= shape[1] - tf.cast(part.row_lengths(), tf.int32)
    columns = tf.range(tf.size(flat)) - tf.gather(begins, rows)
    filled = tf.fill(shape, tf.cast(value, flat.dtype))
    filled = tf.ensure_shape(filled, [None, None])
    places = tf.stack([rows, columns], axis=1)  # [tokens, 2]
    return tf.tensor_scatter_nd_update(filled, places, flat)
