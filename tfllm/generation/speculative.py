"""Speculative decoding: a small model proposes tokens, a large one checks them.

Greedy output equals that of greedy search; draws have the distribution of the
large model. All rows of a batch advance by the same number of tokens, the least
that a row accepts.

Reference: Leviathan et al., "Fast Inference from Transformers via Speculative
Decoding", 2023, algorithm 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfllm.generation.config import GenerationConfig
from tfllm.generation.decode import (
    RUNNING,
    Cache,
    Decoder,
    State,
    Steps,
    filled,
    forward,
    num_columns,
    prefill,
    put_column,
)
from tfllm.generation.processors import History
from tfllm.generation.samplers import draw_from, uniform

# Streams of random numbers: for proposals, tests and replacements.
_PROPOSE, _TEST, _REPLACE = 1, 2, 3


class Speculation(NamedTuple):
    """Loop variables.

    Attributes:
        state: State of the large model, without the last token in its cache.
        draft_cache: Cache of the small model, without the last token.
        proposed: Number of proposed tokens, int32 scalar.
        accepted: Number of proposed tokens that were kept, int32 scalar.
    """

    state: State
    draft_cache: Cache
    proposed: tf.Tensor
    accepted: tf.Tensor


class SpeculativeDecoding(Steps):
    """The loop of speculative decoding.

    Args:
        model: Large Decoder.
        draft: Small Decoder of the same vocabulary.
        config: GenerationConfig.
        room: Number of columns for new tokens, `num_assistant_tokens` + 1
            more than are kept.
        token_bytes: Bytes of each token, for `stop_strings`.
    """

    def __init__(
        self,
        model: Decoder,
        draft: Decoder,
        config: GenerationConfig,
        room: int,
        token_bytes: Sequence[bytes] | None = None,
    ) -> None:
        super().__init__(model, config, room, token_bytes)
        self.ahead = config.num_assistant_tokens
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
        state = self.start(prompts, real, rows, seed, limit)
        width = num_columns(state.tokens) - self.room
        # Proposals past the limit are not kept. They are masked, because the
        # model may have no position for them.
        state = state._replace(real=filled(state.real, width + limit))
        _, draft = prefill(
            self.draft,
            prompts,
            real,
            self.room,
            self.config.decoder_start_token_id,
        )
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
        """Proposes, checks, and keeps the tokens before the first refusal."""
        state = now.state
        trial, probabilities = self._propose(now, width, rows, seed, limit)
        scores, cache = self._score(trial, state, width, limit)
        step = state.length - width
        proposals = [
            tf.gather(trial.tokens, state.length + i, axis=1)
            for i in range(self.ahead)
        ]
        accepts, final = self._accept(
            proposals, probabilities, scores, rows, seed, step
        )
        runs = state.finished == RUNNING
        left = limit - step - 1  # one more token follows those accepted
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
            after._replace(cache=cache.crop(after.length - 1)),
            trial.cache.crop(after.length - 1),
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
        """Generates proposals with the small model.

        Returns:
            State with the proposals and the small model's cache; and, for
            draws, the distribution of each proposal, float32 [R, V].
        """
        trial = now.state._replace(cache=now.draft_cache)
        distributions = []
        for _ in range(self.ahead):
            logits, trial = forward(self.draft, trial)
            scores = self._process(trial, logits, width, limit)
            if self.config.do_sample:
                probabilities = tf.nn.softmax(scores)
                step = trial.length - width
                token = draw_from(probabilities, seed, rows, step, _PROPOSE)
                distributions.append(probabilities)
            else:
                token = tf.argmax(scores, axis=1, output_type=tf.int32)
            trial = trial._replace(
                tokens=put_column(trial.tokens, token, trial.length),
                length=trial.length + 1,
            )
        # The cache needs the last proposal too, if all are kept.
        _, trial = forward(self.draft, trial)
        return trial, distributions

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

    def _score(
        self, trial: State, state: State, width: int, limit: tf.Tensor
    ) -> tuple[list[tf.Tensor], Cache]:
        """Reads the last token and all proposals with the large model.

        Returns:
            Scores after each of them, float32 [R, V]; and the large model's
            cache.
        """
        length = state.length
        columns = length - 1 + tf.range(self.ahead + 1)
        outputs, cache = self.model(
            tf.gather(trial.tokens, columns, axis=1),
            padding_mask=trial.real,
            cache=state.cache,
            last_only=False,
        )
        scores = []
        for i in range(self.ahead + 1):
            past = trial._replace(length=length + i)
            logits = outputs["clm"][:, i]
            scores.append(self._process(past, logits, width, limit))
        return scores, cache

    def _accept(
        self,
        proposals: list[tf.Tensor],
        distributions: list[tf.Tensor],
        scores: list[tf.Tensor],
        rows: tf.Tensor,
        seed: tf.Tensor,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Tests the proposals.

        Returns:
            Number of proposals that each row accepts, int32 [R]; and for each
            proposal the token that replaces it if refused, int32 [R], with
            the token after all proposals at the end.
        """
        goes_on = tf.ones_like(proposals[0], tf.bool)
        accepts = tf.zeros_like(proposals[0])
        final = []
        for i, logits in enumerate(scores):
            if not self.config.do_sample:
                token = tf.argmax(logits, axis=1, output_type=tf.int32)
                final.append(token)
                if i < self.ahead:
                    goes_on &= token == proposals[i]
                    accepts += tf.cast(goes_on, tf.int32)
                continue
            target = tf.nn.softmax(logits)  # [R, V]
            rest = target
            if i < self.ahead:
                draft = distributions[i]
                p = tf.gather(target, proposals[i], batch_dims=1)  # [R]
                q = tf.gather(draft, proposals[i], batch_dims=1)  # [R]
                goes_on &= uniform(seed, rows, step + i, _TEST) * q < p
                accepts += tf.cast(goes_on, tf.int32)
                rest = tf.maximum(target - draft, 0.0)
            final.append(draw_from(rest, seed, rows, step + i, _REPLACE))
        return accepts, final
