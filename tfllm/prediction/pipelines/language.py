"""Pipelines of language models: fill masks and generate text."""

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from tfllm.prediction.pipelines.base import Pipeline, Result, Step, check_count
from tfllm.prediction.pipelines.inputs import plain, text_of
from tfllm.tasks import Task
from tfllm.tasks.fill_mask import FillMask
from tfllm.tokenizers import Tokenizer, load_tokenizer


class FillMaskPipeline(Pipeline):
    """Fills the masks in texts."""

    name = "fill-mask"

    def __init__(
        self, task: Task, tokenizer: Tokenizer, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(task, tokenizer, *args, **kwargs)
        if not tokenizer.special_tokens_in_text:
            # The tokenizer of a task does not recognize masks in texts.
            with tempfile.TemporaryDirectory() as folder:
                tokenizer.save(folder)
                self.tokenizer = load_tokenizer(folder, mask_in_text=True)
        self._fillers: dict[int, FillMask] = {}

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Returns `score`, `token`, `token_str` and `sequence` of candidates.

        NOTE: as in Transformers, a list of one text gives the result of the
        text alone, in this pipeline only.

        Args:
            inputs: Texts with one or several mask tokens; see `Pipeline`.
            **options: Options of `step`, and `batch_size`.

        Returns:
            A list of dicts per text; for a text with several masks a list
            per mask, where `sequence` fills only that mask.
        """
        results = super().__call__(inputs, **options)
        is_list_of_one = isinstance(inputs, list) and len(inputs) == 1
        return results[0] if is_list_of_one else results

    def step(
        self, top_k: int = 5, targets: str | Sequence[str] | None = None
    ) -> Step:
        """Returns the functions that fill masks.

        Args:
            top_k: Candidates per mask.
            targets: Tokens of the vocabulary to choose from; None: all. Their
                scores are probabilities among all tokens.
        """
        check_count("top_k", top_k)
        allowed = None if targets is None else self._ids_of(targets)
        size = self.tokenizer.vocab_size
        fill = self._filler(top_k if allowed is None else size)

        def answer(texts: list[str]) -> Iterator[Result]:
            for text, slots in zip(texts, fill(texts), strict=True):
                if allowed is not None:
                    slots = [
                        [c for c in slot if c["token_id"] in allowed]
                        for slot in slots
                    ]
                best = [slot[:top_k] for slot in slots]
                yield _filled(text, self.tokenizer, best)

        return Step(text_of, answer)

    def _filler(self, top_k: int) -> FillMask:
        """Returns the filler for a number of candidates, created once."""
        if top_k not in self._fillers:
            self._fillers[top_k] = FillMask(self.task, self.tokenizer, top_k)
        return self._fillers[top_k]

    def _ids_of(self, targets: str | Sequence[str]) -> set[int]:
        """Returns the ids of targets; raises ValueError for unknown tokens."""
        words = [targets] if isinstance(targets, str) else list(targets)
        known = set(self.tokenizer.vocab)
        unknown = [word for word in words if word not in known]
        if unknown or not words:
            raise ValueError(
                "`targets` must be tokens of the model's vocabulary. "
                f"Received: {unknown or 'none'}"
            )
        return {self.tokenizer.token_to_id(word) for word in words}


class TextGenerationPipeline(Pipeline):
    """Continues texts."""

    name = "text-generation"

    def step(self, return_full_text: bool = True, **fields: Any) -> Step:
        """Returns the functions that continue prompts.

        The result of a prompt is a list of `num_return_sequences` dicts with
        `generated_text`.

        Args:
            return_full_text: Whether `generated_text` includes the prompt.
            **fields: Fields of `tfllm.generation.GenerationConfig`.
        """
        return self._generation(return_full_text, fields)

    def _generation(
        self, return_full_text: bool, fields: dict[str, Any]
    ) -> Step:
        """Returns the functions of `step`.

        Args:
            return_full_text: Whether `generated_text` includes the prompt.
            fields: Fields of GenerationConfig.
        """
        generate = self.task.text  # type: ignore[attr-defined]
        # Checks the fields before the first prompt.
        copies = generate.config_for(**fields).num_return_sequences
        done = 0

        def check(prompts: Sequence[str]) -> None:
            if prompts:
                named = {f"input {i}": text for i, text in enumerate(prompts)}
                generate.check(named, **fields)

        def answer(prompts: list[str]) -> Iterator[Result]:
            nonlocal done
            continued = generate(prompts, first_row=done * copies, **fields)
            done += len(prompts)
            for prompt, continuations in zip(prompts, continued, strict=True):
                yield [
                    {"generated_text": prompt * return_full_text + c.text}
                    for c in continuations
                ]

        return Step(_prompt_of, answer, check)


class Text2TextGenerationPipeline(TextGenerationPipeline):
    """Writes texts for the sources that an encoder reads."""

    name = "text2text-generation"

    def step(self, **fields: Any) -> Step:  # type: ignore[override]
        """Returns the functions that write texts for sources.

        The result of a source is a list of `num_return_sequences` dicts with
        `generated_text`.

        Args:
            **fields: Fields of `tfllm.generation.GenerationConfig`.
        """
        return self._generation(False, fields)


def _prompt_of(value: Any, where: str) -> str:
    """Returns a prompt, which may be blank; other values raise ValueError."""
    value = plain(value)
    # Chats, lists of dicts, are read as several prompts, and refused here.
    return value if isinstance(value, str) else text_of(value, where)


def _filled(
    text: str, tokenizer: Tokenizer, slots: list[list[Result]]
) -> list[Any]:
    """Returns the candidates for a text; a list per mask if it has several."""
    (mask,) = tokenizer.special_tokens.spell(["mask"])
    parts = text.split(mask)
    filled = [
        [
            {
                "score": candidate["score"],
                "token": candidate["token_id"],
                "token_str": candidate["token"],
                "sequence": tokenizer.put_token(
                    mask.join(parts[: i + 1]),
                    candidate["token_id"],
                    mask.join(parts[i + 1 :]),
                ),
            }
            for candidate in slot
        ]
        for i, slot in enumerate(slots)
    ]
    return filled if len(filled) > 1 else filled[0]
