"""Beam search, diverse beam search, and sampled beams.

Reference: finished beams, length penalty and stopping rules as in Transformers
5; groups: Vijayakumar et al., 2018, algorithm 1; candidates drawn without
replacement: Kool et al., 2019.

Axes beside those of `tfllm.layers`, in this file: B prompts, G groups, M beams
of a group, K candidates of a group, S columns.
"""

from typing import NamedTuple

import tensorflow as tf

from tfllm.generation.config import GenerationConfig
from tfllm.generation.decode import (
    Decoder,
    State,
    all_forbidden,
    filled,
    forward,
    is_end,
    num_columns,
    prefill,
)
from tfllm.generation.processors import History, create_processors
from tfllm.generation.samplers import create_filters, draw_several

# Excludes a score, without differences of infinities.
WORST = -1e9


class Beams(NamedTuple):
    """Running sequences, and the best finished ones.

    Attributes:
        state: State of the running sequences, flat: R = B * G * M.
        scores: Their summed log-probabilities, float32 [B, G, M].
        done: Best finished sequences, int32 [B, G, M, S].
        done_scores: Their scores with the length penalty, float32 [B, G, M].
        is_done: Whether a slot has a finished sequence, bool [B, G, M].
        done_lengths: Their numbers of generated tokens, int32 [B, G, M].
        improvable: Whether better sequences may come, bool [B, G].
        exhausted: Whether all candidates of the last step ended, bool scalar.
    """

    state: State
    scores: tf.Tensor
    done: tf.Tensor
    done_scores: tf.Tensor
    is_done: tf.Tensor
    done_lengths: tf.Tensor
    improvable: tf.Tensor
    exhausted: tf.Tensor


class Draws(NamedTuple):
    """Keys of the random numbers of sampled beams.

    Attributes:
        rows: Numbers of the prompts, int64 [B]. The draws of a prompt depend
            only on its number, the seed and the step.
        seed: int64 scalar.
    """

    rows: tf.Tensor
    seed: tf.Tensor


class BeamSearch:
    """The loop of beam search.

    Args:
        model: Decoder.
        config: GenerationConfig; `max_new_tokens` and `seed` are arguments of
            the call.
        room: Number of columns for new tokens.
    """

    def __init__(
        self, model: Decoder, config: GenerationConfig, room: int
    ) -> None:
        self.model = model
        self.config = config
        self.room = room
        self.processors = create_processors(config)
        self.filters = create_filters(config)
        self.groups = config.num_beam_groups
        self.beams = config.num_beams // self.groups
        # Enough for M that continue if all others end.
        self.kept = max(2, 1 + len(config.eos_token_id)) * self.beams

    def __call__(
        self,
        prompts: tf.Tensor,
        real: tf.Tensor,
        rows: tf.Tensor,
        seed: tf.Tensor,
        limit: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Searches.

        Args:
            prompts: int32 [B, P], padded on the left.
            real: bool [B, P].
            rows: Numbers of the prompts, int64 [B]; see Draws.
            seed: int64 scalar.
            limit: Largest number of new tokens, int32 scalar.

        Returns:
            For the n = `num_return_sequences` best: new tokens int32
            [B, n, room], their number and scores [B, n]; and the number of
            steps.
        """
        draws = Draws(rows, seed)
        first = self.config.decoder_start_token_id
        logits, state = prefill(self.model, prompts, real, self.room, first)
        width = num_columns(state.tokens) - self.room
        copies = self.config.num_beams
        owners = tf.repeat(tf.range(prompts.shape[0]), copies)  # [R]
        beams = self._empty(state.take_rows(owners), prompts.shape[0])
        logits = tf.repeat(logits, copies, axis=0)  # [B, V] -> [R, V]
        beams = self._step(beams, logits, width, limit, draws)

        def body(beams: Beams) -> tuple[Beams]:
            logits, state = forward(self.model, beams.state)
            beams = beams._replace(state=state)
            return (self._step(beams, logits, width, limit, draws),)

        beams = tf.while_loop(self._goes_on, body, (beams,))[0]
        return *self._best(beams, width), beams.state.length - width

    def _empty(self, state: State, count: int) -> Beams:
        """Returns beams in which only the first of each group counts."""
        shape = [count, self.groups, self.beams]
        first = tf.one_hot(0, self.beams, 0.0, WORST)
        return Beams(
            state,
            tf.broadcast_to(first, shape),
            tf.zeros([*shape, state.tokens.shape[1]], tf.int32),
            tf.fill(shape, WORST),
            tf.zeros(shape, tf.bool),
            tf.zeros(shape, tf.int32),
            tf.ones(shape[:2], tf.bool),
            tf.constant(False),
        )

    def _goes_on(self, beams: Beams) -> tf.Tensor:
        goes_on = tf.reduce_any(beams.improvable) & ~beams.exhausted
        if self.config.early_stopping is True:
            goes_on &= ~tf.reduce_all(beams.is_done)
        return goes_on

    def _step(
        self,
        beams: Beams,
        logits: tf.Tensor,
        width: int,
        limit: tf.Tensor,
        draws: Draws,
    ) -> Beams:
        """Extends all beams by one token, and keeps the best."""
        state = beams.state
        history = History(
            state.tokens,
            filled(state.real, state.length),
            state.length,
            width,
            limit - 1,
        )
        scores = tf.nn.log_softmax(logits)  # [R, V]
        for processor in self.processors:
            scores = processor(history, scores)
        for keep in self.filters:
            scores = keep(scores)
        size = scores.shape[1]
        shape = beams.scores.shape
        scores = tf.reshape(scores, [*shape, size])  # [B, G, M, V]
        # [R, S] -> [B, G, M, S]
        tokens = tf.reshape(state.tokens, [*shape, state.tokens.shape[1]])
        # Beams of earlier groups that chose each token: [B, V]
        chosen = tf.zeros([shape[0], size], tf.float32)
        parts = []
        for group in range(self.groups):
            view = _Group(beams, group, tokens[:, group])
            penalty = self.config.diversity_penalty * chosen
            part, new = self._extend(
                view, scores[:, group] - penalty[:, None], history, draws
            )
            chosen += tf.reduce_sum(tf.one_hot(new, size), axis=1)
            parts.append(part)
        return self._merge(beams, parts)

    def _extend(
        self,
        view: "_Group",
        scores: tf.Tensor,
        history: History,
        draws: Draws,
    ) -> tuple["_Extended", tf.Tensor]:
        """Extends the beams of one group, with scores [B, M, V]."""
        size = scores.shape[2]
        total = scores + view.scores[:, :, None]  # [B, M, V]
        best, places = self._candidates(
            tf.reshape(total, [total.shape[0], -1]), history, draws
        )
        origin, token = places // size, places % size  # [B, K]
        here = tf.range(view.tokens.shape[2]) == history.length  # [S]
        candidates = tf.where(
            here, token[:, :, None], _pick(view.tokens, origin)
        )  # [B, K, S]
        # Beams that no token may follow, but not empty slots: [B, M]
        stuck = all_forbidden(scores) & (view.scores > WORST / 2)
        last = history.step == history.last_step
        ends = is_end(token, self.config) | last  # [B, K]
        # The best that do not end: [B, M]
        rest, order = tf.math.top_k(
            best + tf.cast(ends, tf.float32) * WORST, self.beams
        )
        new = _pick(token, order)
        running = _Extended(
            _pick(candidates, order),
            rest,
            _pick(origin, order),
            *self._finish(view, candidates, best, ends, stuck, history.step),
            tf.reduce_all(ends, axis=1),
        )
        return self._mark_improvable(running, view, history), new

    def _candidates(
        self, total: tf.Tensor, history: History, draws: Draws
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the best candidates, or drawn ones.

        Args:
            total: Scores of all beams and tokens, float32 [B, M * V].
            history: Tokens so far.
            draws: Keys of the random numbers.

        Returns:
            Scores and columns of the candidates, [B, K].
        """
        if not self.config.do_sample:
            return tf.math.top_k(total, self.kept)
        places = draw_several(
            total, self.kept, draws.seed, draws.rows, history.step
        )
        return _pick(total, places), places

    def _finish(
        self,
        view: "_Group",
        candidates: tf.Tensor,
        best: tf.Tensor,
        ends: tf.Tensor,
        stuck: tf.Tensor,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Updates `done`, `done_scores`, `is_done` and `done_lengths`."""
        # Only the M best may end; the others replace them.
        ends &= tf.range(self.kept) < self.beams
        ends = tf.concat([ends, stuck], 1)  # [B, K + M]
        lengths = tf.concat(
            [tf.fill(tf.shape(best), step + 1), tf.fill(tf.shape(stuck), step)],
            axis=1,
        )
        # The score of a sequence without tokens is 0 anyway.
        size = tf.cast(tf.maximum(lengths, 1), tf.float32)
        scores = tf.concat([best, view.scores], 1)  # [B, K + M]
        scores /= tf.pow(size, self._length_penalty)
        scores += tf.cast(~view.improvable, tf.float32)[:, None] * WORST
        scores += tf.cast(~ends, tf.float32) * WORST
        if self.config.early_stopping is True:
            full = tf.reduce_all(view.is_done, axis=1, keepdims=True)
            scores += tf.cast(full, tf.float32) * WORST
        scores, order = tf.math.top_k(
            tf.concat([view.done_scores, scores], 1), self.beams
        )  # [B, M]
        return (
            _pick(tf.concat([view.done, candidates, view.tokens], 1), order),
            scores,
            _pick(tf.concat([view.is_done, ends], 1), order),
            _pick(tf.concat([view.done_lengths, lengths], 1), order),
        )

    @property
    def _length_penalty(self) -> float:
        return float(self.config.length_penalty)

    def _mark_improvable(
        self, new: "_Extended", view: "_Group", history: History
    ) -> "_Extended":
        """Marks groups whose running beams may still improve `done`."""
        length = history.step + 1
        if self.config.early_stopping == "never" and self._length_penalty > 0:
            length = history.last_step + 1
        penalty = tf.pow(tf.cast(length, tf.float32), self._length_penalty)
        reachable = new.scores[:, :1] / penalty  # [B, 1]
        worst = tf.reduce_min(new.done_scores, axis=1, keepdims=True)
        worst = tf.where(new.is_done, worst, WORST)  # [B, M]
        better = tf.reduce_any(reachable > worst, axis=1)  # [B]
        return new._replace(improvable=view.improvable & better)

    def _merge(self, beams: Beams, parts: list["_Extended"]) -> Beams:
        """Joins the groups, and reorders the cache."""
        whole = {
            name: tf.stack([getattr(part, name) for part in parts], axis=1)
            for name in _Extended._fields
        }
        count, groups, size = beams.scores.shape
        first = tf.range(count * groups) * size
        rows = tf.reshape(
            tf.reshape(whole["origin"], [-1, size]) + first[:, None], [-1]
        )  # [R]
        state = beams.state.reorder(rows)
        return Beams(
            state._replace(
                tokens=tf.reshape(whole["tokens"], state.tokens.shape),
                length=state.length + 1,
            ),
            whole["scores"],
            whole["done"],
            whole["done_scores"],
            whole["is_done"],
            whole["done_lengths"],
            whole["improvable"],
            tf.reduce_all(whole["exhausted"]),
        )

    def _best(
        self, beams: Beams, width: int
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the best finished sequences: tokens, lengths, scores."""
        count = beams.scores.shape[0]
        flat = [count, self.config.num_beams]
        scores, order = tf.math.top_k(
            tf.reshape(beams.done_scores, flat),
            self.config.num_return_sequences,
        )
        # [B, G, M, S] -> [B, G * M, room]
        done = tf.reshape(beams.done, [*flat, -1])[:, :, width:]
        lengths = tf.reshape(beams.done_lengths, flat)
        return _pick(done, order), _pick(lengths, order), scores


class _Group:
    """Beams of one group, without the axis G."""

    def __init__(self, beams: Beams, group: int, tokens: tf.Tensor) -> None:
        """Takes the slices."""
        self.tokens = tokens
        self.scores = beams.scores[:, group]
        self.done = beams.done[:, group]
        self.done_scores = beams.done_scores[:, group]
        self.is_done = beams.is_done[:, group]
        self.done_lengths = beams.done_lengths[:, group]
        self.improvable = beams.improvable[:, group]


class _Extended(NamedTuple):
    """Beams of one group after a step, with `origin`, int32 [B, M]."""

    tokens: tf.Tensor
    scores: tf.Tensor
    origin: tf.Tensor
    done: tf.Tensor
    done_scores: tf.Tensor
    is_done: tf.Tensor
    done_lengths: tf.Tensor
    exhausted: tf.Tensor
    improvable: tf.Tensor = None


def _pick(values: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """Gathers along axis 1 for each prompt."""
    return tf.gather(values, order, batch_dims=1)
