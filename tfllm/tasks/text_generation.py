"""Texts to generated texts: a tokenizer around `tfllm.generation`."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from tfllm.generation import GenerationConfig
from tfllm.generation.generate import check_prompts, generate
from tfllm.models import LanguageModel, TransformerConfig
from tfllm.tasks.prompts import Prompts, prompts_of
from tfllm.tokenizers import Tokenizer

# Called with the number of the row and the new bytes.
Stream = Callable[[int, bytes], None]

# Number of prompts whose ids are held in memory together.
_CHECKED_AT_ONCE = 1024


class GeneratingTask(Protocol):
    """What `TextGeneration` reads of a task that generates."""

    kind: str
    config: TransformerConfig
    model: LanguageModel
    text: "TextGeneration | None"
    tokenizer: Tokenizer | None


@dataclasses.dataclass(frozen=True)
class Continuation:
    """What was generated for a prompt.

    Attributes:
        text: Text without special tokens; U+FFFD stands for bytes that are
            not UTF-8.
        token_ids: Ids, with the end-of-text token.
        score: Sum of the log-probabilities, or the score of the beam, after
            all penalties and filters.
        finish_reason: "eos", "stop" (a stop string, or every token was
            forbidden) or "length".
    """

    text: str
    token_ids: list[int]
    score: float
    finish_reason: str


class TextGeneration:
    """Generates texts: those that follow prompts, or those for sources.

    Args:
        task: Task that generates.
        tokenizer: Tokenizer of the model.
        config: Defaults for the options of a call.
        refusal: Why the folder's generation_config.json cannot be used, or
            "". Generating then raises ValueError with this text.

    Attributes:
        num_proposed: Number of tokens that drafts proposed, in all calls.
        num_accepted: Number of proposed tokens that were kept.
    """

    def __init__(
        self,
        task: GeneratingTask,
        tokenizer: Tokenizer,
        config: GenerationConfig | None = None,
        refusal: str = "",
    ) -> None:
        self._task = task
        prompts = prompts_of(task.config, tokenizer)
        # In functions: Keras would track the ops' resources as weights.
        self._tokenizer = lambda: tokenizer
        self._prompts = lambda: prompts
        self._config = config or GenerationConfig.from_published(
            tokenizer.model_ids
        )
        self.refusal = refusal
        self.num_proposed = self.num_accepted = 0

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self._tokenizer()

    @property
    def prompts(self) -> Prompts:
        """How the model reads texts."""
        return self._prompts()

    @property
    def config(self) -> GenerationConfig:
        """Defaults for the options of a call.

        Raises:
            ValueError: There is a `refusal`.
        """
        if self.refusal:
            raise ValueError(self.refusal)
        return self._config

    @config.setter
    def config(self, config: GenerationConfig) -> None:
        self._config, self.refusal = config, ""

    def __call__(
        self,
        prompts: Sequence[str],
        draft: GeneratingTask | None = None,
        stream: Stream | None = None,
        first_row: int = 0,
        **options: Any,
    ) -> list[list[Continuation]]:
        """Generates texts, with ids that the tokenizer has.

        Args:
            prompts: Texts to continue, or sources of an encoder.
            draft: Smaller task of the same kind and vocabulary, or None.
            stream: Called with the bytes as they come, or None.
            first_row: As in `tfllm.generation.generate`.
            **options: Fields of GenerationConfig.

        Returns:
            `num_return_sequences` texts per prompt.

        Raises:
            ValueError: The vocabularies differ, a prompt is not a text, or
                `tfllm.generation.generate` refuses the options.
        """
        if isinstance(prompts, str):
            raise ValueError(
                "`prompts` must be a list of texts. "
                f"Received: the text {prompts[:50]!r}"
            )
        _check_texts({f"prompt {i}": text for i, text in enumerate(prompts)})
        if draft is not None:
            self._check_draft(draft)
        task = self._task
        writer = self.tokenizer.target
        token_bytes = writer.token_bytes
        config = self.config_for(**options)
        special = writer.special_ids

        begun: set[int] = set()

        def stream_bytes(row: int, ids: list[int]) -> None:
            assert stream is not None
            if self.prompts.goes_on or row in begun:
                new = b"".join(token_bytes[i] for i in ids if i not in special)
            else:
                # A new text lacks the space that its first piece may have.
                new = self._spelled(ids)
            if new:
                begun.add(row)
            stream(row, new)

        output = generate(
            task.model,
            self._ids(prompts),
            config,
            draft=None if draft is None else draft.model,
            token_bytes=token_bytes,
            stream=None if stream is None else stream_bytes,
            max_length=task.config.max_length,
            draft_max_length=_max_length(draft),
            vocab_size=task.config.vocab_size,
            reads_sources=not self.prompts.goes_on,
            first_row=first_row,
        )
        self.num_proposed += output.num_proposed
        self.num_accepted += output.num_accepted
        return [
            [
                Continuation(self._text(ids), ids, score, reason)
                for ids, score, reason in zip(*of_prompt, strict=True)
            ]
            for of_prompt in zip(
                output.sequences,
                output.scores,
                output.finish_reasons,
                strict=True,
            )
        ]

    def check(
        self,
        prompts: Mapping[str, str],
        draft: GeneratingTask | None = None,
        **options: Any,
    ) -> None:
        """Checks all prompts before the model reads the first one.

        Args:
            prompts: Name in errors -> text.
            draft: As in `__call__`.
            **options: As in `__call__`.

        Raises:
            ValueError: As in `__call__`.
        """
        _check_texts(prompts)
        if draft is not None:
            self._check_draft(draft)
        config = self.config_for(**options)
        model = self._task.config
        named = iter(prompts.items())
        while block := dict(itertools.islice(named, _CHECKED_AT_ONCE)):
            check_prompts(
                self._ids(list(block.values())),
                config,
                model.max_length,
                model.vocab_size,
                _max_length(draft),
                list(block),
                reads_sources=not self.prompts.goes_on,
            )

    def _ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of texts."""
        return self.prompts.read(tf.constant(list(prompts))).to_list()

    def _text(self, ids: list[int]) -> str:
        """Returns the text of ids, without special tokens."""
        return self._spelled(ids).decode("utf-8", errors="replace")

    def _spelled(self, ids: list[int]) -> bytes:
        """Returns the bytes of the text of ids, without special tokens."""
        text = self.prompts.spell(
            tf.RaggedTensor.from_row_lengths(
                tf.constant(ids, tf.int32), [len(ids)]
            )
        )
        return bytes(text.numpy()[0])

    def config_for(self, **options: Any) -> GenerationConfig:
        """Returns the config of a call, without ids that no token has.

        Args:
            **options: Fields of GenerationConfig.

        Raises:
            ValueError: An option is wrong, or an id lies outside the
                tokenizer's vocabulary.
        """
        config = self.config.for_call(**options)
        size = self.tokenizer.target.vocab_size
        # The table of the model may have more rows than there are tokens.
        surplus = range(size, self._task.config.vocab_size)
        if not surplus:
            return config
        for name, ids in (
            ("eos_token_id", config.eos_token_id),
            ("forced_bos_token_id", (config.forced_bos_token_id,)),
            ("forced_eos_token_id", (config.forced_eos_token_id,)),
        ):
            lacking = [i for i in ids if i in surplus]
            if lacking:
                raise ValueError(
                    f"`{name}` must be below {size}, the tokenizer's "
                    f"vocabulary. Received: {lacking[0]}"
                )
        known = [i for i in config.suppress_tokens if i not in surplus]
        return config.replace(suppress_tokens=(*known, *surplus))

    def _check_draft(self, draft: GeneratingTask) -> None:
        """Raises ValueError unless a draft has the model's vocabulary."""
        # Users pass folders and bare models as well.
        if getattr(draft, "kind", None) != self._task.kind:
            raise ValueError(
                f"a draft must be a task {self._task.kind!r}, as "
                f"`model_folder.load` returns it. Received: {draft!r}"
            )
        theirs = draft.text and draft.text.tokenizer
        if theirs and theirs.vocab_hash() != self.tokenizer.vocab_hash():
            raise ValueError(
                "a draft must have the vocabulary of the model, "
                f"{self.tokenizer.vocab_size} tokens. Received: another, of "
                f"{theirs.vocab_size}. Use a model of the same tokenizer."
            )
        ours, size = self._task.config.vocab_size, draft.config.vocab_size
        if size != ours:
            raise ValueError(
                "a draft must have as many ids as the model, `vocab_size` "
                f"{ours}. Received: {size}. Use a model of the same table."
            )


def generate_texts(
    task: GeneratingTask,
    prompts: Sequence[str],
    draft: GeneratingTask | None,
    options: Mapping[str, Any],
) -> list[str]:
    """Returns the texts that a task generates, in the order of the prompts.

    Args:
        task: The task. Its `text` is created if there is none.
        prompts: As in `TextGeneration`.
        draft: As in `TextGeneration`.
        options: Fields of GenerationConfig.

    Raises:
        ValueError: The task has no tokenizer, or as `TextGeneration`.
    """
    if task.text is None and task.tokenizer is not None:
        task.text = TextGeneration(task, task.tokenizer)
    if task.text is None:
        raise ValueError(
            "`generate` needs a tokenizer. Received: a task without one. "
            "Load a model folder that has one, or set `task.tokenizer`."
        )
    by_prompt = task.text(prompts, draft, **options)
    return [c.text for continuations in by_prompt for c in continuations]


def _check_texts(prompts: Mapping[str, Any]) -> None:
    """Raises ValueError unless there are prompts, and all are texts."""
    if not prompts:
        raise ValueError("`prompts` must not be empty. Received: no prompt")
    for name, prompt in prompts.items():
        if not isinstance(prompt, str):
            raise ValueError(
                f"a prompt must be a text. Received: {prompt!r} as {name}"
            )
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"a prompt must be Unicode text. Received: {name} with "
                f"{prompt[error.start : error.end]!r}, a part of a character"
            ) from error


def _max_length(draft: GeneratingTask | None) -> int | None:
    """Returns the longest sequence of a draft; None without a draft."""
    return None if draft is None else draft.config.max_length
