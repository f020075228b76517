"""Beam search, and diverse beams in groups.

Reference: the finished beams, their length penalty and the rules of stopping
are those of Transformers 5; groups: Vijayakumar et al., 2018, algorithm 1.
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
    prefill,
    take_rows,
)
from tfllm.generation.processors import History, create_processors

# Keeps a score out of the best without making differences of infinities.
WORST = -1e9


class Beams(NamedTuple):
    """Sequences that go on, and the best that ended.

    Axes: B prompts, G groups, M beams of a group, S columns.

    Attributes:
        state: Of the B * G * M running sequences, flat.
        scores: float32 [B, G, M], their summed log-probabilities.
        done: int32 [B, G, M, S], the best that ended.
        done_scores: float32 [B, G, M], with the length penalty.
        is_done: bool [B, G, M], false for slots that nothing ended in.
        done_lengths: int32 [B, G, M], tokens generated.
        improvable: bool [B, G], false once no better ones are expected.
        exhausted: bool scalar, every candidate of the last step ended.
    """

    state: State
    scores: tf.Tensor
    done: tf.Tensor
    done_scores: tf.Tensor
    is_done: tf.Tensor
    done_lengths: tf.Tensor
    improvable: tf.Tensor
    exhausted: tf.Tensor


class BeamSearch:
    """The loop of beam search.

    Args:
        model: A Decoder.
        config: GenerationConfig; `max_new_tokens` comes at run time.
        room: Columns for new tokens.
    """

    def __init__(
        self, model: Decoder, config: GenerationConfig, room: int
    ) -> None:
        """See the class."""
        self.model = model
        self.config = config
        self.room = room
        self.processors = create_processors(config)
        self.groups = config.num_beam_groups
        self.beams = config.num_beams // self.groups
        # Enough for M that go on, should the others all end.
        self.kept = max(2, 1 + len(config.eos_token_id)) * self.beams

    def __call__(
        self, prompts: tf.Tensor, real: tf.Tensor, limit: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Searches.

        Args:
            prompts: int32 [B, P], padded on the left.
            real: bool [B, P].
            limit: int32 scalar, tokens to generate at most.

        Returns:
            New tokens int32 [B, N, room], their number and scores [B, N]
            for the N = `num_return_sequences` best, and the steps made.
        """
        width = prompts.shape[1]
        logits, state = prefill(self.model, prompts, real, self.room)
        copies = self.config.num_beams
        rows = tf.repeat(tf.range(prompts.shape[0]), copies)
        beams = self._empty(
            tf.nest.map_structure(lambda part: take_rows(part, rows), state),
            prompts.shape[0],
        )
        logits = tf.repeat(logits, copies, axis=0)
        beams = self._step(beams, logits, width, limit)

        def body(beams: Beams) -> tuple[Beams]:
            logits, state = forward(self.model, beams.state)
            beams = beams._replace(state=state)
            return (self._step(beams, logits, width, limit),)

        beams = tf.while_loop(self._goes_on, body, (beams,))[0]
        return *self._best(beams, width), beams.state.length - width

    def _empty(self, state: State, count: int) -> Beams:
        """Returns beams of which only the first of each group counts."""
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
        self, beams: Beams, logits: tf.Tensor, width: int, limit: tf.Tensor
    ) -> Beams:
        """Extends every beam by one token, and keeps the best."""
        state = beams.state
        history = History(
            state.tokens,
            filled(state.real, state.length),
            state.length,
            width,
            limit - 1,
        )
        scores = tf.nn.log_softmax(logits)
        for processor in self.processors:
            scores = processor(history, scores)
        size = scores.shape[1]
        shape = beams.scores.shape
        scores = tf.reshape(scores, [*shape, size])
        tokens = tf.reshape(state.tokens, [*shape, state.tokens.shape[1]])
        chosen = tf.zeros([shape[0], size], tf.float32)
        parts = []
        for group in range(self.groups):
            view = _Group(beams, group, tokens[:, group])
            penalty = self.config.diversity_penalty * chosen
            part, new = self._extend(
                view, scores[:, group] - penalty[:, None], history
            )
            chosen += tf.reduce_sum(tf.one_hot(new, size), axis=1)
            parts.append(part)
        return self._merge(beams, parts)

    def _extend(
        self, view: "_Group", scores: tf.Tensor, history: History
    ) -> tuple["_Extended", tf.Tensor]:
        """Extends the beams of one group, with scores [B, M, V]."""
        size = scores.shape[2]
        total = scores + view.scores[:, :, None]
        best, places = tf.math.top_k(
            tf.reshape(total, [total.shape[0], -1]), self.kept
        )
        origin, token = places // size, places % size  # [B, K]
        here = tf.range(view.tokens.shape[2]) == history.length
        candidates = tf.where(
            here, token[:, :, None], _pick(view.tokens, origin)
        )
        # Nothing can follow these; not those that only fill up.
        stuck = all_forbidden(scores) & (view.scores > WORST / 2)
        last = history.step == history.last_step
        ends = is_end(token, self.config) | last
        # Those that go on.
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
        return self._judge(running, view, history), new

    def _finish(
        self,
        view: "_Group",
        candidates: tf.Tensor,
        best: tf.Tensor,
        ends: tf.Tensor,
        stuck: tf.Tensor,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns done, their scores, is_done and lengths, updated."""
        # The candidates behind the first M are there only to go on.
        ends &= tf.range(self.kept) < self.beams
        ends = tf.concat([ends, stuck], 1)
        lengths = tf.concat(
            [tf.fill(tf.shape(best), step + 1), tf.fill(tf.shape(stuck), step)],
            axis=1,
        )
        # A sequence without a token has the score 0 in any case.
        size = tf.cast(tf.maximum(lengths, 1), tf.float32)
        scores = tf.concat([best, view.scores], 1)
        scores /= tf.pow(size, self._length_penalty)
        scores += tf.cast(~view.improvable, tf.float32)[:, None] * WORST
        scores += tf.cast(~ends, tf.float32) * WORST
        if self.config.early_stopping is True:
            full = tf.reduce_all(view.is_done, axis=1, keepdims=True)
            scores += tf.cast(full, tf.float32) * WORST
        scores, order = tf.math.top_k(
            tf.concat([view.done_scores, scores], 1), self.beams
        )
        return (
            _pick(tf.concat([view.done, candidates, view.tokens], 1), order),
            scores,
            _pick(tf.concat([view.is_done, ends], 1), order),
            _pick(tf.concat([view.done_lengths, lengths], 1), order),
        )

    @property
    def _length_penalty(self) -> float:
        return float(self.config.length_penalty)

    def _judge(
        self, new: "_Extended", view: "_Group", history: History
    ) -> "_Extended":
        """Marks where no running beam may still beat the worst done one."""
        length = history.step + 1
        if self.config.early_stopping == "never" and self._length_penalty > 0:
            length = history.last_step + 1
        penalty = tf.pow(tf.cast(length, tf.float32), self._length_penalty)
        hope = new.scores[:, :1] / penalty
        worst = tf.reduce_min(new.done_scores, axis=1, keepdims=True)
        worst = tf.where(new.is_done, worst, WORST)
        better = tf.reduce_any(hope > worst, axis=1)
        return new._replace(improvable=view.improvable & better)

    def _merge(self, beams: Beams, parts: list["_Extended"]) -> Beams:
        """Puts the groups together, and reorders the caches."""
        whole = {
            name: tf.stack([getattr(part, name) for part in parts], axis=1)
            for name in _Extended._fields
        }
        count, groups, size = beams.scores.shape
        first = tf.range(count * groups) * size
        rows = tf.reshape(
            tf.reshape(whole["origin"], [-1, size]) + first[:, None], [-1]
        )
        state = tf.nest.map_structure(
            lambda part: take_rows(part, rows), beams.state
        )
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
        """Returns the best that ended: tokens, lengths, scores."""
        count = beams.scores.shape[0]
        flat = [count, self.config.num_beams]
        scores, order = tf.math.top_k(
            tf.reshape(beams.done_scores, flat),
            self.config.num_return_sequences,
        )
        done = tf.reshape(beams.done, [*flat, -1])[:, :, width:]
        lengths = tf.reshape(beams.done_lengths, flat)
        return _pick(done, order), _pick(lengths, order), scores


class _Group:
    """One group's part of Beams."""

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
    """One group after a step; as Beams, and `origin`, int32 [B, M]."""

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
    """Gathers along axis 1, by prompt."""
    return tf.gather(values, order, batch_dims=1)
