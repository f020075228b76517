"""The pipeline for question answering."""

import functools
from collections.abc import Iterator
from typing import Any

from tfllm.data.labelled.records.questions import question_record
from tfllm.outputs.answers import MAX_ANSWER_TOKENS, ranked_answers
from tfllm.prediction.pipelines.base import (
    LabelledPipeline,
    Result,
    Step,
    check_count,
)
from tfllm.prediction.pipelines.inputs import question_of, questions_of
from tfllm.prediction.pooling import AnswerPool


class QuestionAnswering(LabelledPipeline):
    """Answers questions by parts of a context.

    Transformers 5 removed this pipeline; names follow version 4.
    """

    name = "question-answering"

    def __call__(
        self,
        inputs: Any = None,
        question: Any = None,
        context: Any = None,
        **options: Any,
    ) -> Any:
        """Returns `answer`, `start`, `end` and `score`.

        `answer` is "" for no answer.

        Args:
            inputs: Dicts of `question` and `context`; see `Pipeline`.
            question: A question or several, instead of `inputs`.
            context: One context for all questions, or one per question.
            **options: Options of `step`, and `batch_size`.

        Returns:
            A dict for each question; with a `top_k` above 1 a list of dicts,
            best first.
        """
        if (inputs is None) == (question is None and context is None):
            raise ValueError(
                "`inputs`, or `question` and `context`, must be given. "
                f"Received: {'both' if inputs is not None else 'neither'}"
            )
        if inputs is None:
            inputs = questions_of(question, context)
        return super().__call__(inputs, **options)

    def step(
        self,
        top_k: int = 1,
        max_answer_len: int = MAX_ANSWER_TOKENS,
        handle_impossible_answer: bool | None = None,
    ) -> Step:
        """Returns the functions that answer questions.

        Args:
            top_k: Answers per question.
            max_answer_len: Tokens of an answer at most.
            handle_impossible_answer: Whether a question may have no answer;
                None: as in training.
        """
        check_count("top_k", top_k)
        check_count("max_answer_len", max_answer_len)
        threshold = self.task.null_threshold  # type: ignore[attr-defined]
        if handle_impossible_answer is not None:
            threshold = (threshold or 0.0) if handle_impossible_answer else None
        pool = functools.partial(
            AnswerPool, max_tokens=max_answer_len, n_best=top_k
        )

        def answer(batch: list[tuple[str, str]]) -> Iterator[Result]:
            records = [
                question_record(*pair, id=str(i))
                for i, pair in enumerate(batch)
            ]
            for _, output in self.predict(records, pool):
                answers = ranked_answers(output, threshold, top_k)
                yield answers[0] if top_k == 1 else answers

        return Step(question_of, answer)
