"""Speculative decoding: a small model proposes, the large one checks.

Greedy output is that of greedy search; draws have the distribution of the
large model. Rows of a batch go on together, by what all of them accepted.

Reference: Leviathan et al., "Fast Inference from Transformers via Speculative
Decoding", 2023, algorithm 1.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation.config import GenerationConfig
from tfllm.generation.decode import (
    RUNNING,
    Decoder,
    State,
    Steps,
    filled,
    forward,
    prefill,
    put_column,
)
from tfllm.generation.processors import History
from tfllm.generation.samplers import draw_from, uniform

# Streams of random numbers: proposals, tests, and what replaces one.
_PROPOSE, _TEST, _REPLACE = 1, 2, 3


class Speculation(NamedTuple):
    """What the loop carries.

    Attributes:
        state: Of the large model, its last token not read.
        draft_cache: Of the small model, likewise.
        proposed: int32 scalar, tokens proposed.
        accepted: int32 scalar, those that were kept.
    """

    state: State
    draft_cache: list[Any]
    proposed: tf.Tensor
    accepted: tf.Tensor


class SpeculativeDecoding(Steps):
    """The functions of the loop.

    Args:
        model: The large Decoder.
        draft: The small one, of the same vocabulary.
        config: GenerationConfig.
        room: Columns for new tokens.
        token_bytes: The bytes of each token, for `stop_strings`.
    """

    def __init__(
        self,
        model: Decoder,
        draft: Decoder,
        config: GenerationConfig,
        room: int,
        token_bytes: Sequence[bytes] | None = None,
    ) -> None:
        """See the class."""
        self.ahead = config.num_assistant_tokens
        # Proposals may reach past the last token that is kept.
        super().__init__(model, config, room + self.ahead + 1, token_bytes)
        self.draft = draft

    def search(
        self,
        prompts: tf.Tensor,
        real: tf.Tensor,
        rows: tf.Tensor,
        seed: tf.Tensor,
        limit: tf.Tensor,
    ) -> Speculation:
        """Generates; arguments as in `Steps.start`."""
        width = prompts.shape[1]
        state = self.start(prompts, real, rows, seed, limit)
        # What is proposed past the limit is not kept, and counts for no
        # position: there may be no more of them.
        state = state._replace(real=filled(state.real, width + limit))
        _, draft = prefill(self.draft, prompts, real, self.room)
        now = Speculation(state, draft.cache, tf.constant(0), tf.constant(0))

        def goes_on(now: Speculation) -> tf.Tensor:
            return (now.state.length - width < limit) & tf.reduce_any(
                now.state.finished == RUNNING
            )

        def body(now: Speculation) -> tuple[Speculation]:
            return (self._round(now, width, rows, seed, limit),)

        return tf.while_loop(goes_on, body, (now,))[0]

    def _round(
        self,
        now: Speculation,
        width: int,
        rows: tf.Tensor,
        seed: tf.Tensor,
        limit: tf.Tensor,
    ) -> Speculation:
        """Proposes, checks, and keeps the tokens up to the first refused."""
        state = now.state
        trial, chances = self._propose(now, width, rows, seed, limit)
        scores, cache = self._check(trial, state, width, limit)
        step = state.length - width
        proposals = [
            tf.gather(trial.tokens, state.length + i, axis=1)
            for i in range(self.ahead)
        ]
        accepts, final = self._judge(
            proposals, chances, scores, rows, seed, step
        )
        runs = state.finished == RUNNING
        left = limit - step - 1  # one token comes on top of those accepted
        agreed = tf.where(runs, accepts, self.ahead)
        kept = tf.minimum(tf.reduce_min(agreed), left)
        after = state
        for i in range(self.ahead + 1):
            token = final[i]
            if i < self.ahead:
                token = tf.where(i < accepts, proposals[i], token)
            longer = self._append(after, token, scores[i])
            after = after._replace(
                **{
                    name: tf.where(
                        i <= kept, getattr(longer, name), getattr(after, name)
                    )
                    for name in State._fields
                    if name != "cache"
                }
            )
        return Speculation(
            after._replace(cache=_rewind(cache, after.length - 1)),
            _rewind(trial.cache, after.length - 1),
            now.proposed + tf.minimum(left, self.ahead),
            now.accepted + kept,
        )

    def _propose(
        self,
        now: Speculation,
        width: int,
        rows: tf.Tensor,
        seed: tf.Tensor,
        limit: tf.Tensor,
    ) -> tuple[State, list[tf.Tensor]]:
        """Lets the small model run ahead.

        Returns:
            A state with the proposals and the small model's cache, and their
            distributions, float32 [R, V] each.
        """
        trial = now.state._replace(cache=now.draft_cache)
        chances = []
        for _ in range(self.ahead):
            logits, trial = forward(self.draft, trial)
            scores = self._process(trial, logits, width, limit)
            if self.config.do_sample:
                chance = tf.nn.softmax(scores)
                step = trial.length - width
                token = draw_from(chance, seed, rows, step, _PROPOSE)
                chances.append(chance)
            else:
                token = tf.argmax(scores, axis=1, output_type=tf.int32)
            trial = trial._replace(
                tokens=put_column(trial.tokens, token, trial.length),
                length=trial.length + 1,
            )
        # The last proposal is read as well, in case all are kept.
        _, trial = forward(self.draft, trial)
        return trial, chances

    def _process(
        self, state: State, logits: tf.Tensor, width: int, limit: tf.Tensor
    ) -> tf.Tensor:
        """Returns the scores after processors and filters."""
        history = History(
            state.tokens,
            filled(state.real, state.length),
            state.length,
            width,
            limit - 1,
        )
        for processor in self.processors:
            logits = processor(history, logits)
        for keep in self.filters:
            logits = keep(logits)
        return logits

    def _check(
        self, trial: State, state: State, width: int, limit: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[Any]]:
        """Reads the last token and all proposals with the large model.

        Returns:
            Scores float32 [R, V], after each; and the large model's cache.
        """
        length = state.length
        columns = length - 1 + tf.range(self.ahead + 1)
        counts = tf.cumsum(
            tf.cast(filled(trial.real, trial.length), tf.int32), axis=1
        )
        outputs, cache = self.model(
            tf.gather(trial.tokens, columns, axis=1),
            padding_mask=trial.real,
            position_ids=tf.gather(counts, columns, axis=1) - 1,
            cache=state.cache,
            last_only=False,
        )
        scores = []
        for i in range(self.ahead + 1):
            past = trial._replace(length=length + i)
            logits = outputs["clm"][:, i]
            scores.append(self._process(past, logits, width, limit))
        return scores, cache

    def _judge(
        self,
        proposals: list[tf.Tensor],
        chances: list[tf.Tensor],
        scores: list[tf.Tensor],
        rows: tf.Tensor,
        seed: tf.Tensor,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns how many proposals each row accepts, and what replaces.

        Returns:
            int32 [R]; and, should the row refuse proposal i, the token in
            its place, int32 [R] for each i; the last follows them all.
        """
        goes_on = tf.ones_like(proposals[0], tf.bool)
        accepts = tf.zeros_like(proposals[0])
        final = []
        for i, wanted in enumerate(scores):
            if not self.config.do_sample:
                token = tf.argmax(wanted, axis=1, output_type=tf.int32)
                final.append(token)
                if i < self.ahead:
                    goes_on &= token == proposals[i]
                    accepts += tf.cast(goes_on, tf.int32)
                continue
            chance = tf.nn.softmax(wanted)
            rest = chance
            if i < self.ahead:
                ours = tf.gather(chance, proposals[i], batch_dims=1)
                theirs = tf.gather(chances[i], proposals[i], batch_dims=1)
                goes_on &= uniform(seed, rows, step + i, _TEST) * theirs < ours
                accepts += tf.cast(goes_on, tf.int32)
                rest = tf.maximum(chance - chances[i], 0.0)
            final.append(draw_from(rest, seed, rows, step + i, _REPLACE))
        return accepts, final


def _rewind(cache: list[Any], length: tf.Tensor) -> list[Any]:
    """Returns caches that forget all but the first `length` positions."""
    return [part._replace(index=length) for part in cache]
