"""Continues prompts of ids, in the graph."""

import tensorflow as tf

from tfllm.generation.decode import State, Steps
from tfllm.serving.graph import windows
from tfllm.tokenizers.row_template import RowTemplate


def continued(
    ids: tf.RaggedTensor,
    steps: Steps,
    room: int,
    seed: tf.Tensor | None = None,
) -> tuple[State, tf.Tensor]:
    """Generates up to `steps.room` tokens after each prompt.

    Args:
        ids: Prompts, int32 ragged [B, (tokens)].
        steps: Chooses the tokens.
        room: Longest prompt in tokens.
        seed: int64 [B], seed of each row for sampling.

    Returns:
        Final state; new tokens, int32 [B, steps.room].
    """
    pad_id = steps.config.pad_id
    # Left padding, so that all prompts end in the same column.
    template = RowTemplate(pad=pad_id, padding_side="left")
    rows = windows.pad({"token_ids": ids}, template, room)  # [B, T]
    prompts, real = rows["token_ids"], rows["padding_mask"] > 0
    # Each row draws as row 0, so that it does not depend on its batch.
    row_numbers = tf.zeros([ids.nrows(tf.int32)], tf.int64)  # [B]
    seed = row_numbers if seed is None else seed
    limit = tf.constant(steps.room)
    state = steps.start(prompts, real, row_numbers, seed, limit)
    state = steps.advance(state, row_numbers, seed, limit, limit)
    # [B, T + room] -> [B, room]
    tokens = state.tokens[:, tf.shape(state.tokens)[1] - steps.room :]
    tokens = tf.ensure_shape(tokens, [None, steps.room])
    return state, tokens
