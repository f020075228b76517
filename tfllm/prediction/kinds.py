"""Results and figures of each kind of task.

KINDS has an entry for each name in `tfllm.tasks.TASKS`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation.embedding_figures import EmbeddingFigures
from tfllm.evaluation.figures import Figures
from tfllm.evaluation.label_figures import (
    ChoiceFigures,
    LabelFigures,
    NumberFigures,
    SeveralLabelFigures,
)
from tfllm.evaluation.span_figures import AnswerFigures, TagFigures
from tfllm.prediction import lines, record_results
from tfllm.prediction.pooling import AnswerPool, MeanPool, Pool, WordPool
from tfllm.prediction.record_results import Result
from tfllm.tasks import Task


@dataclasses.dataclass(frozen=True)
class LanguagePrediction:
    """A language model: its figures are the means of its losses.

    Attributes:
        main: Names of the main figures.
    """

    main: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LabelledPrediction:
    """How the outputs for records become figures and results.

    Attributes:
        figures: Class of the figures.
        result: (task, record, output, most answers) -> JSON value.
        pool: (records, name of the output, least answers) -> Pool, which
            joins the outputs of the windows of a text.
        lines: (task, settings of its run) -> settings of the data for lines
            without a header.
    """

    figures: type[Figures]
    result: Callable[[Task, Record, Any, int], Result]
    pool: Callable[[Sequence[Record], str, int], Pool] = MeanPool
    lines: Callable[[Task, Mapping[str, Any]], dict[str, Any]] = (
        lines.texts_or_pairs
    )

    @property
    def main(self) -> tuple[str, ...]:
        """Names of the main figures."""
        return self.figures.main


KINDS: dict[str, LanguagePrediction | LabelledPrediction] = {
    "causal_lm": LanguagePrediction(
        ("perplexity", "word_perplexity", "bits_per_byte", "clm_accuracy")
    ),
    "masked_lm": LanguagePrediction(
        ("perplexity", "mlm_accuracy", "nsp_accuracy", "sop_accuracy")
    ),
    "permutation_lm": LanguagePrediction(("perplexity", "plm_accuracy")),
    "replaced_token_detection": LanguagePrediction(
        (
            "rtd_accuracy",
            "replaced_precision",
            "replaced_recall",
            "mlm_accuracy",
        )
    ),
    "seq2seq_lm": LanguagePrediction(("perplexity", "seq2seq_accuracy")),
    "classification": LabelledPrediction(
        LabelFigures, record_results.label_result
    ),
    "multi_label": LabelledPrediction(
        SeveralLabelFigures, record_results.labels_result
    ),
    "regression": LabelledPrediction(
        NumberFigures, record_results.number_result
    ),
    "tagging": LabelledPrediction(
        TagFigures,
        record_results.tags_result,
        pool=WordPool,
        lines=lines.sentences,
    ),
    "question_answering": LabelledPrediction(
        AnswerFigures,
        record_results.answer_result,
        pool=AnswerPool,
        lines=lines.pairs,
    ),
    "embedding": LabelledPrediction(
        EmbeddingFigures,
        record_results.vector_result,
        # Prediction embeds single texts, though training reads pairs.
        lines=lines.texts,
    ),
    "multiple_choice": LabelledPrediction(
        ChoiceFigures, record_results.choice_result, lines=lines.objects
    ),
}


def labelled_kind(task: Task) -> LabelledPrediction:
    """Returns the entry of KINDS for a task of labelled data."""
    kind = KINDS[task.kind]
    assert isinstance(kind, LabelledPrediction), task.kind
    return kind
