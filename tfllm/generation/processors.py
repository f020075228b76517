"""Logits processors: penalties and rules for the next token.

Each processor is a function (History, scores) -> scores of TensorFlow ops with
static shapes, the same in eager mode and in a compiled loop.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfllm.generation.config import GenerationConfig

NEGATIVE_INFINITY = float("-inf")


class History(NamedTuple):
    """Tokens of prompt and continuation so far.

    Attributes:
        tokens: int32 [R, S]; columns from `length` on are not filled yet.
        real: bool [R, S], false for padding and for columns to come.
        length: Number of filled columns, int32 scalar.
        prompt_width: Number of columns of the prompts.
        last_step: Step that chooses the last token, int32 scalar.
    """

    tokens: tf.Tensor
    real: tf.Tensor
    length: tf.Tensor
    prompt_width: Any
    last_step: tf.Tensor

    @property
    def step(self) -> tf.Tensor:
        """Number of tokens generated so far."""
        return self.length - self.prompt_width


Processor = Callable[[History, tf.Tensor], tf.Tensor]


def create_processors(config: GenerationConfig) -> list[Processor]:
    """Creates the processors of a config, in the order of Transformers.

    NOTE: Transformers counts padding as tokens in `no_repeat_ngram`; here it
    is not.
    """
    processors: list[Processor] = []
    if config.repetition_penalty != 1.0:
        processors.append(repetition_penalty(config.repetition_penalty))
    if config.presence_penalty or config.frequency_penalty:
        processors.append(
            count_penalty(config.presence_penalty, config.frequency_penalty)
        )
    if config.no_repeat_ngram_size:
        processors.append(no_repeat_ngram(config.no_repeat_ngram_size))
    ends = {(i,) for i in config.eos_token_id}
    if words := tuple(w for w in config.bad_words_ids if w not in ends):
        processors.append(bad_words(words))
    if config.min_new_tokens and config.eos_token_id:
        processors.append(
            suppressed_until(config.eos_token_id, config.min_new_tokens)
        )
    if config.forced_bos_token_id is not None:
        processors.append(forced_bos(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        processors.append(forced_eos(config.forced_eos_token_id))
    if config.suppress_tokens:
        processors.append(suppressed(config.suppress_tokens))
    if config.begin_suppress_tokens:
        processors.append(suppressed_until(config.begin_suppress_tokens, 1))
    return processors


def repetition_penalty(penalty: float) -> Processor:
    """Penalizes tokens of the prompt and the continuation."""

    def process(history: History, scores: tf.Tensor) -> tf.Tensor:
        seen = _counts(history.tokens, history.real, scores) > 0.0
        weaker = tf.where(scores < 0.0, scores * penalty, scores / penalty)
        return tf.where(seen, weaker, scores)

    return process


def count_penalty(presence: float, frequency: float) -> Processor:
    """Penalizes generated tokens, once and by how often they occurred."""

    def process(history: History, scores: tf.Tensor) -> tf.Tensor:
        new = tf.range(tf.shape(history.tokens)[1]) >= history.prompt_width
        # [R, V]
        counts = _counts(history.tokens, history.real & new, scores)
        present = tf.cast(counts > 0.0, scores.dtype)
        return scores - present * presence - counts * frequency

    return process


def no_repeat_ngram(size: int) -> Processor:
    """Forbids tokens that would repeat an n-gram."""

    def process(history: History, scores: tf.Tensor) -> tf.Tensor:
        tokens, real = history.tokens, history.real
        count = tf.maximum(tf.shape(tokens)[1] - size + 1, 0)
        # Columns of the last n - 1 tokens. Clipped while there are fewer, but
        # then nothing matches.
        last = tf.maximum(history.length - size + 1 + tf.range(size - 1), 0)
        prefix = tf.gather(tokens, last, axis=1)  # [R, n - 1]
        windows = tf.stack(
            [tokens[:, i : count + i] for i in range(size)], axis=2
        )  # [R, W, n]
        whole = tf.stack([real[:, i : count + i] for i in range(size)], axis=2)
        ends = tf.range(count) + size - 1  # [W]
        same = tf.reduce_all(
            windows[:, :, :-1] == prefix[:, None], axis=2
        )  # [R, W]
        matches = (
            same
            & tf.reduce_all(whole, axis=2)
            & (ends < history.length)[None]
            & (history.length + 1 >= size)
        )
        banned = _counts(windows[:, :, -1], matches, scores) > 0.0
        return tf.where(banned, NEGATIVE_INFINITY, scores)

    return process


def bad_words(words: tuple[tuple[int, ...], ...]) -> Processor:
    """Forbids tokens that would complete a sequence."""

    def process(history: History, scores: tf.Tensor) -> tf.Tensor:
        for word in words:
            start = history.length - len(word) + 1
            places = tf.maximum(start + tf.range(len(word) - 1), 0)
            # For a word of n tokens: [R, n - 1]
            recent = tf.gather(history.tokens, places, axis=1)
            real = tf.gather(history.real, places, axis=1)
            before = tf.constant(word[:-1], tf.int32)
            occurred = tf.reduce_all((recent == before) & real, axis=1) & (
                start >= 0
            )  # [R]
            column = tf.one_hot(word[-1], scores.shape[1], True, False)
            scores = tf.where(
                occurred[:, None] & column, NEGATIVE_INFINITY, scores
            )
        return scores

    return process


def suppressed(ids: tuple[int, ...]) -> Processor:
    """Forbids tokens."""

    def process(history: History, scores: tf.Tensor) -> tf.Tensor:
        return tf.where(_among(ids, scores), NEGATIVE_INFINITY, scores)

    return process


def suppressed_until(ids: tuple[int, ...], steps: int) -> Processor:
    """Forbids tokens in the first steps."""

    def process(history: History, scores: tf.Tensor) -> tf.Tensor:
        banned = _among(ids, scores) & (history.step < steps)
        return tf.where(banned, NEGATIVE_INFINITY, scores)

    return process


def forced_bos(token_id: int) -> Processor:
    """Forces a token after a prompt of one token."""

    def process(history: History, scores: tf.Tensor) -> tf.Tensor:
        count = tf.reduce_sum(tf.cast(history.real, tf.int32), axis=1)
        return _force(token_id, (count == 1)[:, None], scores)

    return process


def forced_eos(token_id: int) -> Processor:
    """Forces a token in the last step."""

    def process(history: History, scores: tf.Tensor) -> tf.Tensor:
        return _force(token_id, history.step == history.last_step, scores)

    return process


def _force(token_id: int, condition: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Forbids all other tokens where a condition holds."""
    only = tf.where(_among((token_id,), scores), 0.0, NEGATIVE_INFINITY)
    return tf.where(condition, only, scores)


def _among(ids: tuple[int, ...], scores: tf.Tensor) -> tf.Tensor:
    """Returns bool [1, V], true for the ids."""
    size = scores.shape[1]
    inside = [i for i in ids if i < size]
    mask = tf.scatter_nd([[i] for i in inside], [1.0] * len(inside), [size])
    return (mask > 0.0)[None]


def _counts(
    tokens: tf.Tensor, counted: tf.Tensor, scores: tf.Tensor
) -> tf.Tensor:
    """Returns how often each token occurs, float [R, V].

    Args:
        tokens: int32 [R, N].
        counted: bool [R, N].
        scores: float [R, V], for the shape.
    """
    rows = tf.broadcast_to(
        tf.range(tf.shape(tokens)[0])[:, None], tf.shape(tokens)
    )
    places = tf.stack([rows, tokens], axis=2)  # [R, N, 2]
    return tf.scatter_nd(
        places, tf.cast(counted, scores.dtype), tf.shape(scores)
    )
