"""Contrastive search: probable tokens whose states differ from earlier ones.

Reference: Su et al., "A Contrastive Framework for Neural Text Generation",
2022, section 3.2, equation 5.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfllm.generation.config import GenerationConfig
from tfllm.generation.decode import (
    RUNNING,
    Decoder,
    State,
    Steps,
    filled,
    forward_with_hidden,
    num_columns,
    put_column,
    read_prompts,
)
from tfllm.generation.processors import NEGATIVE_INFINITY, History


class Contrast(NamedTuple):
    """Loop variables.

    Attributes:
        state: State as in greedy search, but with the last token read.
        logits: Logits of the next token, float32 [R, V].
        hidden: Normalized hidden states of all tokens, float32 [R, S, D].
    """

    state: State
    logits: tf.Tensor
    hidden: tf.Tensor


class ContrastiveSearch(Steps):
    """The loop of contrastive search.

    Args:
        model: Decoder that returns `hidden_states`.
        config: GenerationConfig with `penalty_alpha` and `top_k`.
        room: Number of columns for new tokens.
        token_bytes: Bytes of each token, for `stop_strings`.
    """

    def __init__(
        self,
        model: Decoder,
        config: GenerationConfig,
        room: int,
        token_bytes: Sequence[bytes] | None = None,
    ) -> None:
        super().__init__(model, config, room, token_bytes)
        self.copies = config.top_k

    def search(
        self, prompts: tf.Tensor, real: tf.Tensor, limit: tf.Tensor
    ) -> State:
        """Generates; arguments as in `Steps.start`."""
        now = self._read(prompts, real)
        width = num_columns(now.state.tokens) - self.room

        def goes_on(now: Contrast) -> tf.Tensor:
            return (now.state.length - width < limit) & tf.reduce_any(
                now.state.finished == RUNNING
            )

        def body(now: Contrast) -> tuple[Contrast]:
            return (self._step(now, width, limit),)

        return tf.while_loop(goes_on, body, (now,))[0].state

    def _read(self, prompts: tf.Tensor, real: tf.Tensor) -> Contrast:
        """Reads the prompts."""
        first = self.config.decoder_start_token_id
        outputs, state = read_prompts(
            self.model, prompts, real, self.room, first
        )
        hidden = _normalized(outputs["hidden_states"])  # [R, P, D]
        pads = [[0, 0], [0, self.room], [0, 0]]
        return Contrast(state, outputs["clm"][:, -1], tf.pad(hidden, pads))

    def _step(self, now: Contrast, width: int, limit: tf.Tensor) -> Contrast:
        """Reads the k best tokens of each row, and keeps one of them."""
        state = now.state
        k = min(self.copies, now.logits.shape[1])
        seen = filled(state.real, state.length)
        history = History(state.tokens, seen, state.length, width, limit - 1)
        scores = now.logits
        for processor in self.processors:
            scores = processor(history, scores)
        best, tokens = tf.math.top_k(scores, k)  # [R, k]
        probabilities = tf.gather(
            tf.nn.softmax(scores), tokens, batch_dims=1
        )  # [R, k]
        copied = tf.repeat(tf.range(state.tokens.shape[0]), k)  # [R * k]
        trial = state.take_rows(copied)
        trial = trial._replace(
            tokens=put_column(
                trial.tokens, tf.reshape(tokens, [-1]), state.length
            ),
            length=state.length + 1,
        )
        logits, hidden, trial = forward_with_hidden(self.model, trial)
        hidden = _normalized(hidden)  # [R * k, D]
        hidden = tf.reshape(hidden, [-1, k, hidden.shape[1]])  # [R, k, D]
        cosines = tf.matmul(hidden, now.hidden, transpose_b=True)  # [R, k, S]
        cosines = tf.where(seen[:, None], cosines, -1.0)
        alpha = self.config.penalty_alpha
        penalty = tf.reduce_max(cosines, 2)  # [R, k]
        total = (1.0 - alpha) * probabilities - alpha * penalty
        # If fewer than k tokens are allowed, forbidden ones are among them.
        total = tf.where(best > NEGATIVE_INFINITY, total, NEGATIVE_INFINITY)
        choice = tf.argmax(total, axis=1, output_type=tf.int32)  # [R]
        rows = tf.range(state.tokens.shape[0]) * k + choice
        token = tf.gather(tokens, choice, batch_dims=1)  # [R]
        here = tf.range(now.hidden.shape[1]) == state.length  # [S]
        picked = tf.gather(hidden, choice, batch_dims=1)  # [R, D]
        cache = trial.cache.take_rows(rows)
        return Contrast(
            self._append(state, token, scores)._replace(cache=cache),
            tf.gather(logits, rows),
            tf.where(here[None, :, None], picked[:, None], now.hidden),
        )


def _normalized(hidden: tf.Tensor) -> tf.Tensor:
    """Scales vectors to length 1, in float32."""
    return tf.math.l2_normalize(tf.cast(hidden, tf.float32), axis=-1)
