"""Greedy search and sampling: one token at a time, in a compiled loop."""

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


class Decoder(Protocol):
    """What generation needs of a model; `tfllm.models.LanguageModel`.

    Attributes:
        transformer: What comes before the logits; with a cache, it returns
            hidden states and the new caches.
    """

    transformer: Any

    def logits(self, hidden_states: Any) -> Any:
        """Returns float32 logits of hidden states."""

    def create_cache(self, batch_size: int, length: int) -> list[Any]:
        """Returns empty caches."""

    def __call__(
        self,
        token_ids: Any,
        padding_mask: Any,
        position_ids: Any,
        cache: list[Any],
        last_only: bool,
    ) -> tuple[dict[str, Any], list[Any]]:
        """Returns `clm` logits and `hidden_states`, and the new caches."""


class State(NamedTuple):
    """What a loop carries.

    Attributes:
        tokens: int32 [R, S], prompts and what was generated.
        real: bool [R, S], False for padding; true for columns to come.
        cache: The model's, without the last token.
        length: int32 scalar, columns filled.
        finished: int32 [R], RUNNING, END or STOP.
        lengths: int32 [R], tokens generated, the end of text included.
        scores: float32 [R], sum of their log-probabilities among the tokens
            that could be chosen, after all penalties and filters.
        tail: string [R], the last bytes, for stop strings.
    """

    tokens: tf.Tensor
    real: tf.Tensor
    cache: list[Any]
    length: tf.Tensor
    finished: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    tail: tf.Tensor


class Steps:
    """The functions of one loop.

    Args:
        model: A Decoder.
        config: GenerationConfig; `max_new_tokens` and `seed` come at run
            time.
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
            rows: int64 [R], numbers of the rows.
            seed: int64 scalar.
            limit: int32 scalar, tokens to generate at most.
        """
        logits, state = prefill(self.model, prompts, real, self.room)
        width = num_columns(prompts)
        return self._choose(state, logits, width, rows, seed, limit)

    def advance(
        self,
        state: State,
        rows: tf.Tensor,
        seed: tf.Tensor,
        limit: tf.Tensor,
        until: tf.Tensor,
    ) -> State:
        """Generates on, until all rows have `until` tokens or have ended."""
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
        """Chooses a token per row and puts it into the next column."""
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
        """Returns the state with one more token in each running row.

        A row whose every token is forbidden stops before it.
        """
        running = state.finished == RUNNING
        runs = running
        if self.processors:
            runs &= ~all_forbidden(scores)
        logs = tf.gather(tf.nn.log_softmax(scores), token, batch_dims=1)
        token = tf.where(runs, token, self.config.pad_id)
        tail = self.stops.append(state.tail, token)
        finished = tf.where(running & ~runs, STOP, state.finished)
        finished = tf.where(runs & is_end(token, self.config), END, finished)
        finished = tf.where(
            runs & (finished == RUNNING) & self.stops.found(tail),
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
    """Texts that end a sequence, found in its bytes.

    Args:
        texts: The texts.
        token_bytes: The bytes of each token, or None.
    """

    def __init__(
        self, texts: Sequence[str], token_bytes: Sequence[bytes] | None
    ) -> None:
        """See the class."""
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
        # Behind the tokens stands what the tokenizer lacks: no bytes. Rows
        # that ended may be filled up with such an id.
        self.table = tf.constant([*token_bytes, b""])

    def append(self, tail: tf.Tensor, token: tf.Tensor) -> tf.Tensor:
        """Returns the bytes in which a stop may be new, string [R]."""
        if not self.texts:
            return tail
        start = tf.maximum(tf.strings.length(tail) - self.keep, 0)
        kept = tf.strings.substr(tail, start, tf.fill(tf.shape(start), 1 << 30))
        number = tf.minimum(token, len(self.table) - 1)
        return tf.strings.join([kept, tf.gather(self.table, number)])

    def found(self, tail: tf.Tensor) -> tf.Tensor:
        """Returns whether a stop is in the bytes, bool [R]."""
        if not self.texts:
            return tf.zeros(tf.shape(tail), tf.bool)
        return tf.strings.regex_full_match(tail, self.pattern)


def _quoted(text: str) -> str:
    """Quotes a literal for RE2."""
    return "".join(c if c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def prefill(
    model: Decoder, prompts: tf.Tensor, real: tf.Tensor, room: int
) -> tuple[tf.Tensor, State]:
    """Reads prompts padded on the left.

    Args:
        model: A Decoder.
        prompts: int32 [R, P].
        real: bool [R, P].
        room: Columns for new tokens.

    Returns:
        float32 [R, V], logits of the first new token; and the state.
    """
    count, width = prompts.shape[0], num_columns(prompts)
    if count is None:
        count = tf.shape(prompts)[0]
    tokens = tf.pad(prompts, [[0, 0], [0, room]])
    whole = tf.pad(real, [[0, 0], [0, room]], constant_values=True)
    outputs, cache = model(
        prompts,
        padding_mask=whole,
        position_ids=positions(real),
        cache=model.create_cache(count, width + room),
        last_only=True,
    )
    zeros = tf.zeros([count], tf.int32)
    return outputs["clm"][:, -1], State(
        tokens,
        whole,
        cache,
        tf.convert_to_tensor(width),
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
        Logits float32 [R, V], its hidden state [R, D], and the state.
    """
    last = state.length - 1
    token = tf.gather(state.tokens, last[None], axis=1)
    count = tf.reduce_sum(
        tf.cast(filled(state.real, state.length), tf.int32), axis=1
    )
    outputs, cache = model(
        token,
        padding_mask=state.real,
        position_ids=count[:, None] - 1,
        cache=state.cache,
        last_only=True,
    )
    return (
        outputs["clm"][:, -1],
        outputs["hidden_states"][:, -1],
        state._replace(cache=cache),
    )


def filled(real: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Returns bool [R, S], false for columns that are not filled yet."""
    return real & (tf.range(num_columns(real)) < length)


def positions(real: tf.Tensor) -> tf.Tensor:
    """Returns the number of real tokens before each, int32 [R, P]."""
    counts = tf.cumsum(tf.cast(real, tf.int32), axis=1)
    return tf.maximum(counts - 1, 0)


def put_column(
    tokens: tf.Tensor, column: tf.Tensor, place: tf.Tensor
) -> tf.Tensor:
    """Replaces column `place` of [R, S] by [R]."""
    here = tf.range(num_columns(tokens)) == place
    return tf.where(here[None], column[:, None], tokens)


def num_columns(table: tf.Tensor) -> Any:
    """Returns S of [R, S]: an int, or a scalar where only a run tells."""
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


def take_rows(part: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Gathers rows of a part of the state; a scalar has none."""
    return part if part.shape.rank == 0 else tf.gather(part, rows)
