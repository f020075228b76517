"""`generate`: continues prompts of token ids, by any decoding strategy."""

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.generation.beam_search import BeamSearch
from tfllm.generation.buckets import bucket, pad_prompts
from tfllm.generation.compiled import CompiledDecoder
from tfllm.generation.config import GenerationConfig
from tfllm.generation.contrastive import ContrastiveSearch
from tfllm.generation.decode import END, STOP, Decoder, State, Steps
from tfllm.generation.speculative import SpeculativeDecoding

# Called with the number of the row and its new tokens.
Stream = Callable[[int, list[int]], None]

_REASONS = {END: "eos", STOP: "stop"}
# Number of configs per model whose functions are cached.
_MOST_FUNCTIONS = 64
_FUNCTIONS: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = (
    weakref.WeakKeyDictionary()
)


@dataclasses.dataclass(frozen=True)
class GenerationOutput:
    """The generated sequences.

    Attributes:
        sequences: New ids by prompt and returned sequence, with the
            end-of-text token if there is one.
        scores: Sums of log-probabilities, or beam scores, by prompt and
            returned sequence.
        finish_reasons: "eos", "stop" (a stop string, or every token was
            forbidden) or "length", by prompt and returned sequence.
        steps: Number of steps of the loop.
        num_proposed: Number of tokens that the draft proposed.
        num_accepted: Number of proposed tokens that were kept.
    """

    sequences: list[list[list[int]]]
    scores: list[list[float]]
    finish_reasons: list[list[str]]
    steps: int
    num_proposed: int = 0
    num_accepted: int = 0

    @property
    def acceptance_rate(self) -> float:
        """Share of the draft's tokens that were kept."""
        return self.num_accepted / max(self.num_proposed, 1)


def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig | None = None,
    *,
    draft: Decoder | None = None,
    token_bytes: Sequence[bytes] | None = None,
    stream: Stream | None = None,
    max_length: int | None = None,
    draft_max_length: int | None = None,
    vocab_size: int | None = None,
    reads_sources: bool = False,
    first_row: int = 0,
    compiled: bool = True,
    jit_compile: bool = True,
) -> GenerationOutput:
    """Continues prompts.

    Args:
        model: Decoder, such as `task.model` of a CausalLM.
        prompts: Ids of each prompt; an empty one becomes `bos_token_id`.
        config: Options of decoding; greedy by default.
        draft: Much smaller Decoder of the same vocabulary, for speculative
            decoding.
        token_bytes: Bytes of each token, for `stop_strings`.
        stream: Called with new tokens as they come; not with beams, a draft
            or contrastive search.
        max_length: Longest sequence of the model.
        draft_max_length: Longest sequence of the draft.
        vocab_size: Size of the vocabulary.
        reads_sources: Whether an encoder reads the prompts, so that new
            tokens are in rows of their own.
        first_row: Number of the first sequence, which its draws depend on.
            Set it if the prompts are a part of more prompts.
        compiled: Compile the loop. False runs it eagerly, for debugging.
        jit_compile: Compile each step with XLA.

    Raises:
        ValueError: A prompt is empty and there is no `bos_token_id`, is too
            long, or has an id outside the vocabulary; or options do not go
            together.
    """
    config = config or GenerationConfig()
    prompts = check_prompts(
        prompts,
        config,
        max_length,
        vocab_size,
        draft_max_length,
        reads_sources=reads_sources,
    )
    _check_strategy(config, draft, stream)
    tokens, real = pad_prompts(prompts, config.pad_id)
    functions = _functions(
        model, config, draft, token_bytes, compiled, jit_compile and compiled
    )
    limit = tf.constant(config.max_new_tokens)
    room = _room(config, draft)
    copies = config.num_return_sequences
    seed = tf.constant(config.seed, tf.int64)
    if config.num_beams > 1:
        # The number of a prompt is that of its first sequence.
        rows = first_row + copies * tf.range(len(prompts), dtype=tf.int64)
        beams = functions(
            tf.constant(tokens), tf.constant(real), rows, seed, limit
        )
        return _from_beams(beams, config)
    inputs = (
        tf.constant(np.repeat(tokens, copies, axis=0)),
        tf.constant(np.repeat(real, copies, axis=0)),
    )
    rows = first_row + tf.range(len(prompts) * copies, dtype=tf.int64)
    if config.penalty_alpha:
        return _from_state(functions(*inputs, limit), config, room)
    if draft is not None:
        speculation = functions(*inputs, rows, seed, limit)
        return dataclasses.replace(
            _from_state(speculation.state, config, room),
            num_proposed=int(speculation.proposed),
            num_accepted=int(speculation.accepted),
        )
    start, advance = functions
    state = start(*inputs, rows, seed, limit)
    if stream is None:
        state = advance(state, rows, seed, limit, limit)
    else:
        state = _streamed(advance, state, rows, seed, limit, room, stream)
    return _from_state(state, config, room)


def _check_strategy(
    config: GenerationConfig, draft: Decoder | None, stream: Stream | None
) -> None:
    """Raises ValueError for arguments that do not go with a strategy."""
    if (stream or draft) and (config.num_beams > 1 or config.penalty_alpha):
        raise ValueError(
            "`stream` and `draft` go with greedy search and sampling only. "
            f"Received: num_beams={config.num_beams}, penalty_alpha="
            f"{config.penalty_alpha}"
        )
    if stream is not None and draft is not None:
        raise ValueError(
            "`stream` does not go with `draft`. Received: both. Leave one out."
        )
    if config.num_beams > 1 and config.stop_strings:
        raise ValueError(
            "`stop_strings` do not go with `num_beams`. Received: "
            f"num_beams={config.num_beams}"
        )


def check_prompts(
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    max_length: int | None,
    vocab_size: int | None,
    draft_max_length: int | None = None,
    names: Sequence[str] | None = None,
    reads_sources: bool = False,
) -> list[list[int]]:
    """Checks prompts and returns them as lists; empty ones become one token.

    Args:
        prompts: Ids of each prompt.
        config: Options of decoding.
        max_length: Longest sequence of the model.
        vocab_size: Size of the vocabulary.
        draft_max_length: Longest sequence of the draft.
        names: Names of the prompts in errors; default: `prompt 0` and so on.
        reads_sources: As in `generate`.

    Raises:
        ValueError: As in `generate`.
    """
    if not len(prompts):
        raise ValueError("`prompts` must not be empty. Received: no prompt")
    if vocab_size:
        config.check_vocabulary(vocab_size)
    checked = []
    for number, prompt in enumerate(prompts):
        name = names[number] if names else f"prompt {number}"
        ids = [int(i) for i in prompt]
        if not ids and config.bos_token_id is None:
            raise ValueError(
                "a prompt must hold a token, since there is no "
                f"`bos_token_id`. Received: {name} is empty"
            )
        ids = ids or [config.bos_token_id or 0]
        wrong = [i for i in ids if i < 0 or (vocab_size and i >= vocab_size)]
        if wrong:
            raise ValueError(
                f"ids must be below {vocab_size}, the model's vocabulary. "
                f"Received: {wrong[0]} in {name}. Is the tokenizer "
                "that of the model?"
            )
        for reader, length in (
            ("model", max_length),
            ("draft", draft_max_length),
        ):
            new = config.max_new_tokens
            # The decoder of an encoder-decoder reads its first token as well.
            used = max(len(ids), 1 + new) if reads_sources else len(ids) + new
            if length and used > length:
                each = "each " * reads_sources
                raise ValueError(
                    f"prompt and `max_new_tokens` must {each}fit into the "
                    f"{length} positions of the {reader}. Received: {name} of "
                    f"{len(ids)} tokens and max_new_tokens="
                    f"{config.max_new_tokens}. Shorten one of them."
                )
        checked.append(ids)
    return checked


def count_traces(model: Decoder) -> int:
    """Returns how often the functions of a model were traced, for tests."""
    total = 0
    for functions in _FUNCTIONS.get(model, {}).values():
        for function in (
            functions if isinstance(functions, tuple) else (functions,)
        ):
            total += function.experimental_get_tracing_count()
    return total


def _room(config: GenerationConfig, draft: Decoder | None) -> int:
    """Returns the number of columns for new tokens."""
    room = bucket(config.max_new_tokens)
    # Proposals may reach past the last token that is kept.
    return room if draft is None else room + config.num_assistant_tokens + 1


def _functions(
    model: Decoder,
    config: GenerationConfig,
    draft: Decoder | None,
    token_bytes: Sequence[bytes] | None,
    compiled: bool,
    jit_compile: bool,
) -> Any:
    """Returns the cached function, or pair of functions, for a config.

    There is one per model and config. Length and seed do not count: they are
    arguments. Those that were used last stay in the cache.
    """
    room = _room(config, draft)
    static = dataclasses.replace(
        config,
        max_new_tokens=bucket(config.max_new_tokens),
        min_new_tokens=0,
        seed=0,
    )
    key = (
        dataclasses.astuple(static),
        config.min_new_tokens,
        None if draft is None else id(draft),
        _stop_table(config, token_bytes),
        compiled,
        jit_compile,
    )
    cache = _FUNCTIONS.setdefault(model, {})
    functions = cache.pop(key, None)
    if functions is None:
        functions = _create(
            model, config, draft, token_bytes, room, compiled, jit_compile
        )
    # A dict keeps its order: the oldest comes first.
    cache[key] = functions
    if len(cache) > _MOST_FUNCTIONS:
        del cache[next(iter(cache))]
    return functions


def _stop_table(
    config: GenerationConfig, token_bytes: Sequence[bytes] | None
) -> tuple[bytes, ...] | None:
    """Returns the bytes of the tokens if the function needs them."""
    if not config.stop_strings or token_bytes is None:
        return None
    return tuple(token_bytes)


def _create(
    model: Decoder,
    config: GenerationConfig,
    draft: Decoder | None,
    token_bytes: Sequence[bytes] | None,
    room: int,
    compiled: bool,
    jit_compile: bool,
) -> Any:
    """Creates what `_functions` returns."""

    def function(call: Any) -> Any:
        if not compiled:
            return call
        return tf.function(call, autograph=False)

    # A weak reference: the cached functions must not keep the model alive.
    model = weakref.proxy(model)
    if jit_compile:
        model = CompiledDecoder(model)
        draft = None if draft is None else CompiledDecoder(draft)
    if config.num_beams > 1:
        return function(BeamSearch(model, config, room))
    if config.penalty_alpha:
        search = ContrastiveSearch(model, config, room, token_bytes)
        return function(search.search)
    if draft is not None:
        ahead = SpeculativeDecoding(model, draft, config, room, token_bytes)
        return function(ahead.search)
    steps = Steps(model, config, room, token_bytes)
    return function(steps.start), function(steps.advance)


def _streamed(
    advance: Any,
    state: State,
    rows: tf.Tensor,
    seed: tf.Tensor,
    limit: tf.Tensor,
    room: int,
    stream: Stream,
) -> State:
    """Advances token by token, and calls `stream` with each."""
    width = state.tokens.shape[1] - room
    streamed = np.zeros(state.tokens.shape[0], np.int32)  # [R]
    while True:
        lengths = state.lengths.numpy()
        tokens = state.tokens.numpy()
        for row in np.flatnonzero(lengths > streamed):
            begin, end = width + streamed[row], width + lengths[row]
            stream(int(row), tokens[row, begin:end].tolist())
        streamed = lengths
        done = int(state.length) - width
        if done >= int(limit) or state.finished.numpy().all():
            return state
        state = advance(state, rows, seed, limit, tf.constant(done + 1))


def _from_state(
    state: State, config: GenerationConfig, room: int
) -> GenerationOutput:
    """Returns the output of a loop without beams."""
    width = state.tokens.shape[1] - room
    tokens = state.tokens.numpy()[:, width:]  # [R, S] -> [R, room]
    lengths = state.lengths.numpy()
    rows = [
        row[:length].tolist()
        for row, length in zip(tokens, lengths, strict=True)
    ]
    reasons = [_REASONS.get(int(f), "length") for f in state.finished.numpy()]
    size = config.num_return_sequences
    return GenerationOutput(
        _by_prompt(rows, size),
        _by_prompt(state.scores.numpy().tolist(), size),
        _by_prompt(reasons, size),
        int(state.length) - width,
    )


def _from_beams(
    beams: tuple[tf.Tensor, ...], config: GenerationConfig
) -> GenerationOutput:
    """Returns the output of beam search."""
    tokens, lengths, scores, steps = (part.numpy() for part in beams)
    sequences = [
        [row[:n].tolist() for row, n in zip(rows, counts, strict=True)]
        for rows, counts in zip(tokens, lengths, strict=True)
    ]
    ends = set(config.eos_token_id)

    def reason(row: list[int]) -> str:
        if row and row[-1] in ends:
            return "eos"
        return "length" if len(row) == config.max_new_tokens else "stop"

    reasons = [[reason(row) for row in rows] for rows in sequences]
    return GenerationOutput(sequences, scores.tolist(), reasons, int(steps))


def _by_prompt(values: list[Any], size: int) -> list[list[Any]]:
    """Splits a flat list into lists of `size`."""
    return [values[i : i + size] for i in range(0, len(values), size)]
