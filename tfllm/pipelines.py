"""Model folders as functions: text in, results out.

    classify = tfllm.pipeline("text-classification", model="runs/sms")
    classify("You have won!")  # [{"label": "spam", "score": 0.99}]

Names, arguments and results are those that users of the Transformers library
know.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfllm.data.labelled import named_settings
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.records.questions import question_record
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows.row_layout import layout_of
from tfllm.evaluation.answers import MAX_ANSWER_TOKENS
from tfllm.evaluation.labelled import predict
from tfllm.evaluation.pooling import AnswerPool, Pool
from tfllm.evaluation.results import (
    entity_groups,
    label_scores,
    ranked_answers,
    word_tags,
)
from tfllm.interop import model_folder
from tfllm.pipeline_inputs import pair_of, questions_of, sentence_of, text_of
from tfllm.tasks import Task
from tfllm.tasks.fill_mask import MASK, FillMask
from tfllm.tokenizers import WordPieceTokenizer, load_tokenizer
from tfllm.tokenizers.word_names import is_continuation, word_text
from tfllm.training.run_folder import RunFolder

Result = Any

# A word has one tag, that of its first piece: all but "none" are the same.
AGGREGATION_STRATEGIES = ("none", "simple", "first", "average", "max")

# Not given: None is a value of its own.
_BEST: Literal[""] = ""


class Pipeline:
    """What `pipeline` returns.

    Args:
        task: The task of a model folder.
        folder: The folder.
        batch_size: Texts at a time.
    """

    # Kinds of tasks that it takes; none: any.
    kinds: tuple[str, ...] = ()

    def __init__(self, task: Task, folder: str, batch_size: int = 8) -> None:
        """See the class."""
        if self.kinds and task.kind not in self.kinds:
            fitting = [n for n, c in PIPELINES.items() if task.kind in c.kinds]
            raise ValueError(
                f"`model` must be of a task among {list(self.kinds)}. "
                f"Received: {folder}, of {task.kind!r}. Its pipelines are "
                f"{fitting or ['feature-extraction']}."
            )
        self.task = task
        self.batch_size = batch_size
        with model_folder.local_folder(folder) as local:
            self.tokenizer = self.load_tokenizer(str(local))
        self._values = RunFolder(folder).read("run.json") or {}

    def with_options(self, **options: Any) -> Callable[..., Any]:
        """Returns what is called as the pipeline, with defaults of its own.

        Raises:
            ValueError: It does not take one of them.
        """
        # Only what derives from this class can be called.
        call: Any = self
        signature = inspect.signature(call)
        try:
            signature.bind_partial(**options)
        except TypeError as error:
            taken = [*signature.parameters][1:]
            raise ValueError(
                f"`pipeline` takes {taken or 'no options'} for this task. "
                f"Received: {error}. Leave it out."
            ) from error
        return functools.partial(call, **options)

    def load_tokenizer(self, folder: str) -> Any:
        """Returns the tokenizer of the folder."""
        return load_tokenizer(folder)

    def batches(self, items: Sequence[Any]) -> Iterator[list[Any]]:
        """Yields `batch_size` items at a time."""
        iterator = iter(items)
        while batch := list(itertools.islice(iterator, self.batch_size)):
            yield batch

    def predict(
        self,
        records: Sequence[Record],
        make_pool: Callable[..., Pool] | None = None,
    ) -> Iterator[tuple[Record, Any]]:
        """Yields records, without labels, and what the task says of them.

        Args:
            records: The records.
            make_pool: See `evaluation.labelled.predict`.
        """
        marked = getattr(self.task, "with_predicates", False)
        settings = {
            **self._values,
            "batch_size": self.batch_size,
            # Records come as they are; it says whether they have one.
            "predicate_column": "predicate" if marked else "",
        }
        config = named_settings.task_config(self.task, settings)
        for batch in self.batches(records):
            data = LabelledData(batch, self.tokenizer, config)
            found = predict(self.task, data, make_pool=make_pool)
            yield from zip(found.records, found.outputs, strict=True)


class TextClassification(Pipeline):
    """Labels of texts or pairs of texts; see `pipeline`."""

    kinds = ("classification", "multi_label", "regression")

    def __call__(
        self, inputs: Any, top_k: int | None | Literal[""] = _BEST
    ) -> Result | list[Result] | list[list[Result]]:
        """Returns `label` and `score`, the probability.

        Args:
            inputs: A text, a dict of `text` and `text_pair`, or a list of
                these.
            top_k: Labels of a text; None: all; not given: the best.

        Returns:
            The best label of each text, for a dict its own; with `top_k`, also
            of 1, lists of them, best first, and for a single input its list.
        """
        count = 1 if isinstance(top_k, str) else top_k
        _check_count("top_k", count)
        several = isinstance(inputs, list)
        records = [
            Record(str(i), f"input {i}", pair_of(value), None)
            for i, value in enumerate(inputs if several else [inputs])
        ]
        if len({len(record.texts) for record in records}) > 1:
            raise ValueError(
                "`inputs` must be all texts or all pairs. Received: both"
            )
        found = [
            label_scores(self.task, output)[:count]
            for _, output in self.predict(records)
        ]
        if top_k == _BEST:
            best = [labels[0] for labels in found]
            return best[0] if isinstance(inputs, dict) else best
        return found if several else found[0]

    def with_options(self, **options: Any) -> Callable[..., Any]:
        """See the base class.

        NOTE: with a `top_k` that is not that of the call, a text alone gives
        a list of its list, as in Transformers.
        """
        call = super().with_options(**options)

        def classify(inputs: Any, **given: Any) -> Any:
            found = call(inputs, **given)
            as_list = "top_k" in options and "top_k" not in given
            return [found] if as_list and isinstance(inputs, str) else found

        return classify


class TokenClassification(Pipeline):
    """Tags of words, or the entities they make; see `pipeline`."""

    kinds = ("tagging",)

    def __call__(
        self,
        inputs: Any,
        aggregation_strategy: str = "none",
        ignore_labels: Sequence[str] = ("O",),
    ) -> list[Result] | list[list[Result]]:
        """Returns what is tagged, in the order of the text.

        NOTE: words are tagged and not their pieces. Strategies that join the
        pieces of a word have one to join, its first: all give the same, and
        "average" and "max" not what they give in Transformers for a word of
        several pieces.

        Args:
            inputs: A text, or a list of them. Of a model that was trained
                with predicates a dict of `text` and `predicate`, the number
                of a word from 0, one below its `index`; or a list of these.
            aggregation_strategy: "none": `entity`, `score`, `index`, `word`,
                `start`, `end` by word. The others: `entity_group`, `score`,
                `word`, `start`, `end` by entity.
            ignore_labels: Tags or types that are left out.

        Returns:
            A list per text; for a single input its list.
        """
        if aggregation_strategy not in AGGREGATION_STRATEGIES:
            raise ValueError(
                "`aggregation_strategy` must be one of "
                f"{list(AGGREGATION_STRATEGIES)}. "
                f"Received: {aggregation_strategy!r}"
            )
        several = isinstance(inputs, list)
        records = [
            sentence_of(value, i, self.task.with_predicates)
            for i, value in enumerate(inputs if several else [inputs])
        ]
        by_word = aggregation_strategy == "none"
        read = word_tags if by_word else entity_groups
        key = "entity" if by_word else "entity_group"
        found = [
            [
                one
                for one in read(self.task, record, output)
                if one[key] not in ignore_labels
            ]
            for record, output in self.predict(records)
        ]
        return found if several else found[0]


class QuestionAnswering(Pipeline):
    """Answers as parts of a context; see `pipeline`."""

    kinds = ("question_answering",)

    def __call__(
        self,
        inputs: Any = None,
        question: str | list[str] | None = None,
        context: str | list[str] | None = None,
        top_k: int = 1,
        max_answer_len: int = MAX_ANSWER_TOKENS,
        handle_impossible_answer: bool | None = None,
    ) -> Result | list[Result]:
        """Returns `answer`, `start`, `end` and `score`.

        An answer is "" if there is none.

        Args:
            inputs: A dict of `question` and `context`, or a list of them.
            question: A question, or several, instead.
            context: What may answer it; one for all questions, or each.
            top_k: Answers of a question.
            max_answer_len: Tokens of an answer, at most.
            handle_impossible_answer: Whether there may be no answer; None:
                as in training.

        Returns:
            A dict for one question, a list for several; with another `top_k`
            lists of dicts, best first.
        """
        _check_count("top_k", top_k)
        _check_count("max_answer_len", max_answer_len)
        threshold = self.task.null_threshold
        if handle_impossible_answer is not None:
            threshold = (threshold or 0.0) if handle_impossible_answer else None
        pool = functools.partial(
            AnswerPool, max_tokens=max_answer_len, n_best=top_k
        )
        pairs, several = questions_of(inputs, question, context)
        records = [
            question_record(*pair, id=str(i), where=f"input {i}")
            for i, pair in enumerate(pairs)
        ]
        found: list[Any] = [
            ranked_answers(output, threshold, top_k)
            for _, output in self.predict(records, pool)
        ]
        if top_k == 1:
            found = [answers[0] for answers in found]
        return found if several else found[0]


class FillMaskPipeline(Pipeline):
    """Tokens for [MASK]; see `pipeline`."""

    kinds = ("masked_lm",)

    def load_tokenizer(self, folder: str) -> Any:
        """See the base class: text may spell the mask."""
        return WordPieceTokenizer.from_file(
            folder, special_tokens_in_text=(MASK,)
        )

    def __call__(
        self, inputs: str | list[str], top_k: int = 5
    ) -> list[Any] | list[list[Any]]:
        """Returns `score`, `token`, `token_str` and `sequence`.

        NOTE: a list of one text gives what the text alone gives, in this
        pipeline only, as in Transformers.

        Args:
            inputs: A text with one [MASK] or several, or a list of them.
            top_k: Candidates per [MASK].

        Returns:
            A list per text, for a single input its list; by mask if a text
            has several, where `sequence` fills only that one.
        """
        _check_count("top_k", top_k)
        several = isinstance(inputs, list)
        texts = inputs if isinstance(inputs, list) else [inputs]
        fill = FillMask(self.task, self.tokenizer, top_k)
        found = [
            self._of_text(text, slots)
            for batch in self.batches(texts)
            for text, slots in zip(batch, fill(batch), strict=True)
        ]
        return found if several and len(found) != 1 else found[0]

    def _of_text(self, text: str, slots: list[list[Result]]) -> list[Any]:
        """Returns the candidates of a text."""
        parts = text.split(MASK)
        filled = [
            [
                {
                    "score": one["score"],
                    "token": one["token_id"],
                    "token_str": one["token"],
                    "sequence": _joined(
                        MASK.join(parts[: i + 1]),
                        one["token"],
                        MASK.join(parts[i + 1 :]),
                    ),
                }
                for one in slot
            ]
            for i, slot in enumerate(slots)
        ]
        return filled if len(filled) > 1 else filled[0]


class TextGenerationPipeline(Pipeline):
    """Texts that go on; see `pipeline`."""

    kinds = ("causal_lm",)

    def __call__(
        self,
        inputs: str | list[str],
        return_full_text: bool = True,
        **options: Any,
    ) -> list[Any] | list[list[Any]]:
        """Returns `generated_text`.

        Args:
            inputs: A prompt, or a list of them.
            return_full_text: Whether the prompt is part of it.
            **options: Fields of `tfllm.generation.GenerationConfig`.

        Returns:
            A list of `num_return_sequences` dicts per prompt; for a single
            prompt its list.
        """
        several = isinstance(inputs, list)
        prompts = inputs if isinstance(inputs, list) else [inputs]
        if not prompts:
            return []
        generate = self.task.text
        generate.check(
            self.task,
            {f"input {i}": prompt for i, prompt in enumerate(prompts)},
            **options,
        )
        found: list[Any] = []
        for batch in self.batches(prompts):
            copies = len(found[0]) if found else 1
            continued = generate(
                self.task, batch, first_row=len(found) * copies, **options
            )
            found += [
                [
                    {"generated_text": prompt * return_full_text + one.text}
                    for one in continuations
                ]
                for prompt, continuations in zip(batch, continued, strict=True)
            ]
        return found if several else found[0]


class FeatureExtraction(Pipeline):
    """Vectors of tokens, or of texts; see `pipeline`."""

    def __call__(self, inputs: str | list[str]) -> list[Any]:
        """Returns nested lists of floats.

        Args:
            inputs: A text, or a list of them.

        Returns:
            For a text [1, T, D], the last hidden states of its tokens, the
            special ones included; from a model that embeds texts [1, D], the
            vector of the text. For a list a list of these.
        """
        several = isinstance(inputs, list)
        texts = inputs if isinstance(inputs, list) else [inputs]
        if self.task.kind == "embedding":
            records = [
                Record(str(i), f"input {i}", (text_of(value),))
                for i, value in enumerate(texts)
            ]
            found = [output.tolist() for _, output in self.predict(records)]
        else:
            found = [
                [vectors]
                for batch in self.batches(texts)
                for vectors in self._hidden_states(batch)
            ]
        return found if several else found[0]

    def _hidden_states(self, texts: list[str]) -> Iterator[list[Any]]:
        """Yields the vectors of the tokens of each text."""
        layout = layout_of(self.tokenizer)
        longest = self.task.config.max_length
        room = None if longest is None else longest - layout.num_special(1)
        rows = [
            [*layout.opens, *ids[:room], *layout.closes]
            for ids in self.tokenizer.tokenize(
                tf.constant([text_of(text) for text in texts])
            ).to_list()
        ]
        ids = tf.ragged.constant(rows, tf.int32)
        states = self.task.model.transformer(
            ids.to_tensor(),
            padding_mask=tf.ones_like(ids).to_tensor(),
            training=False,
        )
        for row, vectors in zip(rows, np.array(states), strict=True):
            yield vectors[: len(row)].tolist()


PIPELINES: dict[str, type[Any]] = {
    "text-classification": TextClassification,
    "token-classification": TokenClassification,
    "question-answering": QuestionAnswering,
    "fill-mask": FillMaskPipeline,
    "text-generation": TextGenerationPipeline,
    "feature-extraction": FeatureExtraction,
}


def pipeline(
    task: str, model: str, batch_size: int = 8, **options: Any
) -> Callable[..., Any]:
    """Returns a function from text to results.

    Args:
        task: One of PIPELINES.
        model: Model folder, or hub id.
        batch_size: Texts at a time.
        **options: What it is called with, where a call does not say.

    Raises:
        ValueError: There is no such pipeline, the folder is not one of its
            tasks, or it does not take the options.
    """
    if task not in PIPELINES:
        raise ValueError(
            f"`task` must be one of {list(PIPELINES)}. Received: {task!r}"
        )
    _check_count("batch_size", batch_size)
    pipe = PIPELINES[task](model_folder.load(model), model, batch_size)
    return pipe.with_options(**options) if options else pipe


def _check_count(name: str, value: int | None) -> None:
    """Raises ValueError for a number below 1."""
    if value is not None and value < 1:
        raise ValueError(f"`{name}` must be at least 1. Received: {value}")


def _joined(before: str, token: str, after: str) -> str:
    """Returns a text with a token put in; a `##` continues a word."""
    if is_continuation(token) and before:
        return before.rstrip() + word_text(token) + after
    return before + token + after
