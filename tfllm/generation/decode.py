"""Greedy search and sampling: a compiled loop over single tokens."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tfllm.generation.config import GenerationConfig
from tfllm.generation.processors import (
    NEGATIVE_INFINITY,
    History,
    create_processors,
)
from tfllm.generation.samplers import create_filters, draw

RUNNING, END, STOP = 0, 1, 2


class Cache(Protocol):
    """Interface of `tfllm.layers.Cache` for generation.

    Attributes:
        length: Number of tokens read, int32 scalar.
    """

    length: Any

    def take_rows(self, rows: Any) -> "Cache":
        """Returns the cache of the rows, int32 [R], in this order."""

    def reorder(self, rows: Any) -> "Cache":
        """Returns the cache for beams in a new order within each prompt."""

    def crop(self, length: Any) -> "Cache":
        """Returns the cache without the tokens from `length` on."""


class Decoder(Protocol):
    """Interface of `tfllm.models.LanguageModel` for generation.

    Attributes:
        transformer: Model without the logits. With a cache it returns hidden
            states and the new cache.
    """

    transformer: Any

    def logits(self, hidden_states: Any) -> Any:
        """Returns float32 logits of hidden states."""

    def start(
        self, prompts: Any, real: Any, room: int, first: int | None
    ) -> tuple[Any, Any, Cache]:
        """Returns ids and mask of the first pass, [B, P], and a cache.

        `first` is the token that the decoder of an encoder-decoder starts
        with; None: that of the model.
        """

    def __call__(
        self, token_ids: Any, padding_mask: Any, cache: Cache, last_only: bool
    ) -> tuple[dict[str, Any], Cache]:
        """Returns `clm` logits and `hidden_states`, and the new cache."""


class State(NamedTuple):
    """Loop variables of R rows.

    Attributes:
        tokens: Prompts and continuations, int32 [R, S].
        real: bool [R, S], false for padding, true for columns to come.
        cache: Cache of the model, without the last token.
        length: Number of filled columns, int32 scalar.
        finished: RUNNING, END or STOP, int32 [R].
        lengths: Number of generated tokens, end of text included, int32 [R].
        scores: Sums of the tokens' log-probabilities, after all penalties and
            filters, float32 [R].
        tail: Last bytes of each row, for stop strings, string [R].
    """

    tokens: tf.Tensor
    real: tf.Tensor
    cache: Cache
    length: tf.Tensor
    finished: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    tail: tf.Tensor

    def take_rows(self, rows: tf.Tensor) -> "State":
        """Returns the state of the rows, int32 [R], in this order."""
        return self._gathered(rows, self.cache.take_rows(rows))

    def reorder(self, rows: tf.Tensor) -> "State":
        """Returns the state for beams in a new order within each prompt."""
        return self._gathered(rows, self.cache.reorder(rows))

    def _gathered(self, rows: tf.Tensor, cache: Cache) -> "State":
        """Gathers rows of all tensors, and replaces the cache."""
        parts = {
            name: tf.gather(value, rows)
            for name, value in self._asdict().items()
            if name not in ("cache", "length")
        }
        return self._replace(cache=cache, **parts)


class Steps:
    """The loop of greedy search and sampling.

    Args:
        model: Decoder.
        config: GenerationConfig; `max_new_tokens` and `seed` are arguments of
            the methods.
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
        self.model = model
        self.config = config
        self.room = room
        self.processors = create_processors(config)
        self.filters = create_filters(config)
        self.stops = StopStrings(config.stop_strings, token_bytes)

    def start(
        self,
        prompts: tf.Tensor,
        real: tf.Tensor,
        rows: tf.Tensor,
        seed: tf.Tensor,
        limit: tf.Tensor,
    ) -> State:
        """Reads the prompts and chooses the first token.

        Args:
            prompts: int32 [R, P], padded on the left.
            real: bool [R, P].
            rows: Numbers of the rows, int64 [R].
            seed: int64 scalar.
            limit: Largest number of new tokens, int32 scalar.
        """
        first = self.config.decoder_start_token_id
        logits, state = prefill(self.model, prompts, real, self.room, first)
        width = num_columns(state.tokens) - self.room
        return self._choose(state, logits, width, rows, seed, limit)

    def advance(
        self,
        state: State,
        rows: tf.Tensor,
        seed: tf.Tensor,
        limit: tf.Tensor,
        until: tf.Tensor,
    ) -> State:
        """Generates until all rows have `until` tokens or have ended."""
        width = num_columns(state.tokens) - self.room

        def goes_on(state: State) -> tf.Tensor:
            return (state.length - width < until) & tf.reduce_any(
                state.finished == RUNNING
            )

        def body(state: State) -> tuple[State]:
            logits, state = forward(self.model, state)
            return (self._choose(state, logits, width, rows, seed, limit),)

        return tf.while_loop(goes_on, body, (state,))[0]

    def _choose(
        self,
        state: State,
        logits: tf.Tensor,
        width: Any,
        rows: tf.Tensor,
        seed: tf.Tensor,
        limit: tf.Tensor,
    ) -> State:
        """Chooses a token per row and writes it into the next column."""
        history = History(
            state.tokens,
            filled(state.real, state.length),
            state.length,
            width,
            limit - 1,
        )
        scores = logits
        for processor in self.processors:
            scores = processor(history, scores)
        for keep in self.filters:
            scores = keep(scores)
        if self.config.do_sample:
            token = draw(scores, seed, rows, history.step)
        else:
            token = tf.argmax(scores, axis=1, output_type=tf.int32)
        return self._append(state, token, scores)

    def _append(
        self, state: State, token: tf.Tensor, scores: tf.Tensor
    ) -> State:
        """Adds a token to each running row.

        Rows without an allowed token stop before it.
        """
        running = state.finished == RUNNING  # [R]
        runs = running
        if self.processors:
            runs &= ~all_forbidden(scores)
        logs = tf.gather(tf.nn.log_softmax(scores), token, batch_dims=1)
        token = tf.where(runs, token, self.config.pad_id)
        tail = self.stops.append(state.tail, token)
        finished = tf.where(running & ~runs, STOP, state.finished)
        finished = tf.where(runs & is_end(token, self.config), END, finished)
        finished = tf.where(
            runs & (finished == RUNNING) & self.stops.are_in(tail),
            STOP,
            finished,
        )
        return state._replace(
            tokens=put_column(state.tokens, token, state.length),
            length=state.length + 1,
            finished=finished,
            lengths=state.lengths + tf.cast(runs, tf.int32),
            scores=state.scores + tf.where(runs, logs, 0.0),
            tail=tail,
        )


class StopStrings:
    """Finds texts that end a sequence, in the bytes of its tokens.

    Args:
        texts: Stop strings.
        token_bytes: Bytes of each token, or None.
    """

    def __init__(
        self, texts: Sequence[str], token_bytes: Sequence[bytes] | None
    ) -> None:
        self.texts = [text.encode() for text in texts]
        if not self.texts:
            return
        if token_bytes is None:
            raise ValueError(
                "`stop_strings` need the bytes of the tokens. Received: "
                f"{list(texts)} without `token_bytes`; use `task.generate`, "
                "which knows the tokenizer"
            )
        self.pattern = rf"(?s)\C*({'|'.join(map(_quoted, texts))})\C*"
        self.keep = max(map(len, self.texts)) - 1
        # The last entry is for ids that the tokenizer lacks, which may pad
        # rows that have ended.
        self.table = tf.constant([*token_bytes, b""])

    def append(self, tail: tf.Tensor, token: tf.Tensor) -> tf.Tensor:
        """Returns the bytes that may contain a new stop string, [R]."""
        if not self.texts:
            return tail
        start = tf.maximum(tf.strings.length(tail) - self.keep, 0)
        kept = tf.strings.substr(tail, start, tf.fill(tf.shape(start), 1 << 30))
        number = tf.minimum(token, len(self.table) - 1)
        return tf.strings.join([kept, tf.gather(self.table, number)])

    def are_in(self, tail: tf.Tensor) -> tf.Tensor:
        """Checks each row of bytes for a stop string; returns bool [R]."""
        if not self.texts:
            return tf.zeros(tf.shape(tail), tf.bool)
        return tf.strings.regex_full_match(tail, self.pattern)


def _quoted(text: str) -> str:
    """Quotes a literal for RE2."""
    return "".join(c if c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def prefill(
    model: Decoder,
    prompts: tf.Tensor,
    real: tf.Tensor,
    room: int,
    first: int | None = None,
) -> tuple[tf.Tensor, State]:
    """Reads prompts padded on the left.

    Args:
        model: Decoder.
        prompts: int32 [R, P].
        real: bool [R, P].
        room: Number of columns for new tokens.
        first: As in `Decoder.start`.

    Returns:
        Logits of the first new token, float32 [R, V]; and the state.
    """
    outputs, state = read_prompts(model, prompts, real, room, first)
    return outputs["clm"][:, -1], state


def read_prompts(
    model: Decoder,
    prompts: tf.Tensor,
    real: tf.Tensor,
    room: int,
    first: int | None = None,
) -> tuple[dict[str, tf.Tensor], State]:
    """Returns the outputs of the model and the state; see `prefill`."""
    tokens, real, cache = model.start(prompts, real, room, first)
    count = tokens.shape[0]
    if count is None:
        count = tf.shape(tokens)[0]
    pads = [[0, 0], [0, room]]
    whole = tf.pad(real, pads, constant_values=True)  # [R, P + room]
    outputs, cache = model(
        tokens, padding_mask=whole, cache=cache, last_only=True
    )
    zeros = tf.zeros([count], tf.int32)
    return outputs, State(
        tf.pad(tokens, pads),
        whole,
        cache,
        tf.convert_to_tensor(num_columns(tokens)),
        zeros,
        zeros,
        tf.zeros([count], tf.float32),
        tf.fill([count], ""),
    )


def forward(model: Decoder, state: State) -> tuple[tf.Tensor, State]:
    """Reads the last token; returns logits [R, V] and the new state."""
    logits, _, state = forward_with_hidden(model, state)
    return logits, state


def forward_with_hidden(
    model: Decoder, state: State
) -> tuple[tf.Tensor, tf.Tensor, State]:
    """Reads the last token.

    Returns:
        Logits float32 [R, V], hidden states [R, D], and the new state.
    """
    last = state.length - 1
    token = tf.gather(state.tokens, last[None], axis=1)  # [R, 1]
    outputs, cache = model(
        token, padding_mask=state.real, cache=state.cache, last_only=True
    )
    return (
        outputs["clm"][:, -1],
        outputs["hidden_states"][:, -1],
        state._replace(cache=cache),
    )


def filled(real: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Returns `real` with false for columns that are not filled, [R, S]."""
    return real & (tf.range(num_columns(real)) < length)


def put_column(
    tokens: tf.Tensor, column: tf.Tensor, place: tf.Tensor
) -> tf.Tensor:
    """Replaces the column `place` of tokens [R, S] by [R]."""
    here = tf.range(num_columns(tokens)) == place
    return tf.where(here[None], column[:, None], tokens)


def num_columns(table: tf.Tensor) -> Any:
    """Returns S of [R, S]: an int, or a scalar if it is not static."""
    width = table.shape[1]
    return tf.shape(table)[1] if width is None else width


def is_end(token: tf.Tensor, config: GenerationConfig) -> tf.Tensor:
    """Returns whether tokens end a sequence, bool of the same shape."""
    ends = tf.zeros(tf.shape(token), tf.bool)
    for end in config.eos_token_id:
        ends |= token == end
    return ends


def all_forbidden(scores: tf.Tensor) -> tf.Tensor:
    """Returns whether scores [..., V] leave no token to choose, bool [...]."""
    return tf.reduce_max(scores, axis=-1) == NEGATIVE_INFINITY
