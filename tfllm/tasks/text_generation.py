"""Texts to continuations: a tokenizer around `tfllm.generation`."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfllm.generation import GenerationConfig, generate
from tfllm.generation.generate import check_prompts
from tfllm.tokenizers import ByteBPETokenizer

# Called with the number of the row and the bytes that are new.
Stream = Callable[[int, bytes], None]

# Prompts whose ids are in memory together.
_CHECKED_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Continuation:
    """What was generated after a prompt.

    Attributes:
        text: Without the end of text; bytes that are not UTF-8 became U+FFFD.
        token_ids: The ids, the end of text included.
        score: Sum of their log-probabilities, or the beam's score; of the
            distribution that they were chosen from, after all penalties and
            filters.
        finish_reason: "eos", "stop" (a stop string, or every token was
            forbidden) or "length".
    """

    text: str
    token_ids: list[int]
    score: float
    finish_reason: str


class TextGeneration:
    """How a causal model continues texts.

    Args:
        tokenizer: That of the model.
        config: What to generate where a call does not say.

    Attributes:
        num_proposed: Tokens that drafts proposed, in all calls.
        num_accepted: Those of them that were kept.
    """

    def __init__(
        self,
        tokenizer: ByteBPETokenizer,
        config: GenerationConfig | None = None,
    ) -> None:
        """See the class."""
        # In a function: Keras would track the ops' resources as weights.
        self._tokenizer = lambda: tokenizer
        self.config = config or GenerationConfig.from_published(
            tokenizer.model_ids
        )
        self.num_proposed = self.num_accepted = 0

    @property
    def tokenizer(self) -> ByteBPETokenizer:
        """The tokenizer."""
        return self._tokenizer()

    def __call__(
        self,
        task: Any,
        prompts: Sequence[str],
        draft: Any = None,
        stream: Stream | None = None,
        first_row: int = 0,
        **options: Any,
    ) -> list[list[Continuation]]:
        """Continues texts, with ids that the tokenizer has.

        Args:
            task: A CausalLM.
            prompts: The texts.
            draft: A smaller CausalLM of the same vocabulary, or None.
            stream: Called with the bytes as they come, or None.
            first_row: See `tfllm.generation.generate`.
            **options: Fields of GenerationConfig.

        Returns:
            `num_return_sequences` continuations per prompt.

        Raises:
            ValueError: The vocabularies differ; or see
                `tfllm.generation.generate`.
        """
        if isinstance(prompts, str):
            raise ValueError(
                "`prompts` must be a list of texts. "
                f"Received: the text {prompts[:50]!r}"
            )
        _check_texts({f"prompt {i}": one for i, one in enumerate(prompts)})
        if draft is not None:
            self._check_draft(task, draft)
        table = self.tokenizer.token_bytes
        config = self.config_of(task, **options)
        special = self.tokenizer.special_ids

        def tell(row: int, ids: list[int]) -> None:
            assert stream is not None
            new = b"".join(table[i] for i in ids if i not in special)
            stream(row, new)

        output = generate(
            task.model,
            self._ids(prompts),
            config,
            draft=None if draft is None else draft.model,
            token_bytes=table,
            stream=None if stream is None else tell,
            max_length=task.config.max_length,
            draft_max_length=_longest(draft),
            vocab_size=task.config.vocab_size,
            first_row=first_row,
        )
        self.num_proposed += output.num_proposed
        self.num_accepted += output.num_accepted
        return [
            [
                Continuation(self._text(ids), ids, score, reason)
                for ids, score, reason in zip(*several, strict=True)
            ]
            for several in zip(
                output.sequences,
                output.scores,
                output.finish_reasons,
                strict=True,
            )
        ]

    def check(
        self,
        task: Any,
        prompts: Mapping[str, str],
        draft: Any = None,
        **options: Any,
    ) -> None:
        """Checks many prompts before work on the first of them.

        Args:
            task: A CausalLM.
            prompts: The texts, by what errors call them.
            draft: As for the call.
            **options: Likewise.

        Raises:
            ValueError: See the call.
        """
        _check_texts(prompts)
        if draft is not None:
            self._check_draft(task, draft)
        config = self.config_of(task, **options)
        named = iter(prompts.items())
        while some := dict(itertools.islice(named, _CHECKED_AT_ONCE)):
            check_prompts(
                self._ids(list(some.values())),
                config,
                task.config.max_length,
                task.config.vocab_size,
                _longest(draft),
                list(some),
            )

    def _ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of texts."""
        return self.tokenizer.tokenize(tf.constant(list(prompts))).to_list()

    def _text(self, ids: list[int]) -> str:
        """Returns the text of ids, without special tokens."""
        text = self.tokenizer.detokenize(
            tf.constant([ids], tf.int32), skip_special_tokens=True
        )
        return bytes(text.numpy()[0]).decode("utf-8", errors="replace")

    def config_of(self, task: Any, **options: Any) -> GenerationConfig:
        """Returns what to generate, of ids that the tokenizer has.

        Args:
            task: A CausalLM, whose table may have more ids.
            **options: Fields of GenerationConfig.
        """
        config = self.config.for_call(**options)
        size = self.tokenizer.vocab_size
        surplus = range(size, task.config.vocab_size)
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

    def _check_draft(self, task: Any, draft: Any) -> None:
        """Raises ValueError unless a draft reads and gives the same ids."""
        if getattr(draft, "kind", None) != task.kind:
            raise ValueError(
                "a draft must be a causal language model, as "
                f"`model_folder.load` returns it. Received: {draft!r}"
            )
        theirs = draft.text and draft.text.tokenizer
        if theirs and theirs.vocab_hash() != self.tokenizer.vocab_hash():
            raise ValueError(
                "a draft must have the vocabulary of the model, "
                f"{self.tokenizer.vocab_size} tokens. Received: another, of "
                f"{theirs.vocab_size}. Use a model of the same tokenizer."
            )
        ours, size = task.config.vocab_size, draft.config.vocab_size
        if size != ours:
            raise ValueError(
                "a draft must have as many ids as the model, `vocab_size` "
                f"{ours}. Received: {size}. Use a model of the same table."
            )


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


def _longest(draft: Any) -> int | None:
    """Returns the longest sequence of a CausalLM; None for none."""
    return None if draft is None else draft.config.max_length
