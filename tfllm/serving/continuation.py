"""Ids, and how they go on, in the graph."""

import tensorflow as tf

from tfllm.generation.decode import State, Steps
from tfllm.serving import windows


def last(ids: tf.RaggedTensor, count: int) -> tf.RaggedTensor:
    """Returns the last `count` tokens of each row."""
    lengths = tf.minimum(ids.row_lengths(), count)
    limits = ids.row_limits()
    places = tf.ragged.range(limits - lengths, limits)
    return places.with_flat_values(
        tf.gather(ids.flat_values, places.flat_values)
    )


def continued(
    ids: tf.RaggedTensor,
    steps: Steps,
    room: int,
    seed: tf.Tensor | None = None,
) -> tuple[State, tf.Tensor]:
    """Generates as many tokens as `steps` has columns for.

    Args:
        ids: int32 ragged [B, (tokens)].
        steps: What chooses the tokens.
        room: The longest row of `ids`.
        seed: int64 [B], of draws.

    Returns:
        How it ended, and the new tokens, int32 [B, steps.room].
    """
    pad_id = steps.config.pad_id
    # Padding goes to the left, so that all prompts end together.
    rows = windows.pad({"ids": ids[:, ::-1]}, {"ids": pad_id}, room)
    prompts = tf.reverse(rows["ids"], [1])
    real = tf.reverse(rows["padding_mask"], [1]) > 0
    rows_of_one = tf.zeros([ids.nrows(tf.int32)], tf.int64)
    seed = rows_of_one if seed is None else seed
    limit = tf.constant(steps.room)
    state = steps.start(prompts, real, rows_of_one, seed, limit)
    state = steps.advance(state, rows_of_one, seed, limit, limit)
    width = tf.shape(prompts)[1]
    tokens = tf.ensure_shape(state.tokens[:, width:], [None, steps.room])
    return state, tokens
