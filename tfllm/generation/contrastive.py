"""Contrastive search: probable tokens whose state differs from all before.

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
    positions,
    put_column,
    take_rows,
)
from tfllm.generation.processors import NEGATIVE_INFINITY, History


class Contrast(NamedTuple):
    """What the loop carries.

    Attributes:
        state: As in greedy search, with the last token read already.
        logits: float32 [R, V], of the next token.
        hidden: float32 [R, S, D], directions of the states of all tokens.
    """

    state: State
    logits: tf.Tensor
    hidden: tf.Tensor


class ContrastiveSearch(Steps):
    """The functions of the loop.

    Args:
        model: A Decoder that gives `hidden_states`.
        config: GenerationConfig with `penalty_alpha` and `top_k`.
        room: Columns for new tokens.
        token_bytes: The bytes of each token, for `stop_strings`.
    """

    def __init__(
        self,
        model: Decoder,
        config: GenerationConfig,
        room: int,
        token_bytes: Sequence[bytes] | None = None,
    ) -> None:
        """See the class."""
        super().__init__(model, config, room, token_bytes)
        self.copies = config.top_k

    def search(
        self, prompts: tf.Tensor, real: tf.Tensor, limit: tf.Tensor
    ) -> State:
        """Generates; arguments as in `Steps.start`."""
        width = prompts.shape[1]
        now = self._read(prompts, real)

        def goes_on(now: Contrast) -> tf.Tensor:
            return (now.state.length - width < limit) & tf.reduce_any(
                now.state.finished == RUNNING
            )

        def body(now: Contrast) -> tuple[Contrast]:
            return (self._step(now, width, limit),)

        return tf.while_loop(goes_on, body, (now,))[0].state

    def _read(self, prompts: tf.Tensor, real: tf.Tensor) -> Contrast:
        """Reads the prompts."""
        count, width = prompts.shape
        pads = [[0, 0], [0, self.room]]
        whole = tf.pad(real, pads, constant_values=True)
        outputs, cache = self.model(
            prompts,
            padding_mask=whole,
            position_ids=positions(real),
            cache=self.model.create_cache(count, width + self.room),
            last_only=True,
        )
        zeros = tf.zeros([count], tf.int32)
        state = State(
            tf.pad(prompts, pads),
            whole,
            cache,
            tf.constant(width),
            zeros,
            zeros,
            tf.zeros([count], tf.float32),
            tf.fill([count], ""),
        )
        hidden = _direction(outputs["hidden_states"])
        return Contrast(
            state, outputs["clm"][:, -1], tf.pad(hidden, [*pads, [0, 0]])
        )

    def _step(self, now: Contrast, width: int, limit: tf.Tensor) -> Contrast:
        """Reads the k best tokens of each row and keeps one of them."""
        state = now.state
        k = min(self.copies, now.logits.shape[1])
        seen = filled(state.real, state.length)
        history = History(state.tokens, seen, state.length, width, limit - 1)
        scores = now.logits
        for processor in self.processors:
            scores = processor(history, scores)
        best, tokens = tf.math.top_k(scores, k)  # [R, k]
        chances = tf.gather(tf.nn.softmax(scores), tokens, batch_dims=1)
        copied = tf.repeat(tf.range(state.tokens.shape[0]), k)
        trial = tf.nest.map_structure(
            lambda part: take_rows(part, copied), state
        )
        trial = trial._replace(
            tokens=put_column(
                trial.tokens, tf.reshape(tokens, [-1]), state.length
            ),
            length=state.length + 1,
        )
        logits, hidden, trial = forward_with_hidden(self.model, trial)
        hidden = _direction(hidden)
        hidden = tf.reshape(hidden, [-1, k, hidden.shape[1]])
        likeness = tf.matmul(hidden, now.hidden, transpose_b=True)  # [R, k, S]
        likeness = tf.where(seen[:, None], likeness, -1.0)
        alpha = self.config.penalty_alpha
        worth = (1.0 - alpha) * chances - alpha * tf.reduce_max(likeness, 2)
        # Forbidden tokens are among the k best where fewer are allowed.
        worth = tf.where(best > NEGATIVE_INFINITY, worth, NEGATIVE_INFINITY)
        choice = tf.argmax(worth, axis=1, output_type=tf.int32)
        rows = tf.range(state.tokens.shape[0]) * k + choice
        token = tf.gather(tokens, choice, batch_dims=1)
        here = tf.range(now.hidden.shape[1]) == state.length
        picked = tf.gather(hidden, choice, batch_dims=1)
        cache = tf.nest.map_structure(
            lambda part: take_rows(part, rows), trial.cache
        )
        return Contrast(
            self._append(state, token, scores)._replace(cache=cache),
            tf.gather(logits, rows),
            tf.where(here[None, :, None], picked[:, None], now.hidden),
        )


def _direction(hidden: tf.Tensor) -> tf.Tensor:
    """Returns vectors of length 1, float32."""
    return tf.math.l2_normalize(tf.cast(hidden, tf.float32), axis=-1)
