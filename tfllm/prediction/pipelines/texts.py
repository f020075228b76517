"""Pipelines for whole texts: classification and embedding."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.outputs.probabilities import sigmoid, softmax
from tfllm.prediction.pipelines.base import (
    LabelledPipeline,
    Result,
    Step,
    check_choice,
    check_count,
)
from tfllm.prediction.pipelines.inputs import pair_of, plain, text_of
from tfllm.prediction.record_results import label_scores
from tfllm.tasks import Task

# Default of `top_k`: the best label alone. None means all labels.
_BEST: Literal[""] = ""

_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": sigmoid,
    "softmax": softmax,
    "none": lambda logits: logits,
}


class TextClassification(LabelledPipeline):
    """Classifies texts or pairs of texts."""

    name = "text-classification"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Returns `label` and `score`, the probability.

        NOTE: as in Transformers, a single text gives a list, unless the call
        has `top_k`.

        Args:
            inputs: Texts, or dicts of `text` and `text_pair`; see `Pipeline`.
            **options: Options of `step`, and `batch_size`.

        Returns:
            A dict for each text; with `top_k`, even 1, a list of dicts, best
            first.
        """
        inputs = plain(inputs)
        results = super().__call__(inputs, **options)
        is_text = isinstance(inputs, str)
        return [results] if is_text and "top_k" not in options else results

    def step(
        self,
        top_k: int | None | Literal[""] = _BEST,
        function_to_apply: str | None = None,
        truncation: bool = False,
        max_length: int | None = None,
    ) -> Step:
        """Returns the functions that classify texts.

        Args:
            top_k: Labels per text; None: all. By default the best one alone.
            function_to_apply: Function from logits to scores: "sigmoid",
                "softmax" or "none"; None: that of the task.
            truncation: Cut long texts to one row. Otherwise they are read in
                windows, whose logits are averaged.
            max_length: Tokens of a row; None: as in training.
        """
        count = 1 if top_k == _BEST else top_k
        check_count("top_k", count)
        check_count("max_length", max_length)
        function = None
        if function_to_apply is not None:
            function = str(function_to_apply).lower()
            check_choice("function_to_apply", function, list(_FUNCTIONS))
        length: dict[str, Any] = {}
        if max_length is not None:
            length["seq_length"] = max_length

        def answer(batch: list[tuple[str, ...]]) -> Iterator[Result]:
            # Single texts and pairs need separate batches of rows.
            for _, texts in itertools.groupby(batch, len):
                records = [
                    Record(str(i), "", pair) for i, pair in enumerate(texts)
                ]
                outputs = self.predict(records, cut=truncation, **length)
                for _, output in outputs:
                    scores = _scores(self.task, output, function)
                    yield scores[0] if top_k == _BEST else scores[:count]

        return Step(pair_of, answer)


class SentenceEmbedding(LabelledPipeline):
    """Embeds texts as one vector each."""

    name = "sentence-embedding"

    def step(self) -> Step:
        """Returns the functions that embed texts as lists of D floats.

        Vectors are pooled and normalized as the model folder says. Texts
        longer than a row are cut, as in training.
        """

        def answer(batch: list[str]) -> Iterator[Result]:
            records = [Record(str(i), "", (t,)) for i, t in enumerate(batch)]
            for _, output in self.predict(records):
                yield output[0].tolist()  # [1, D]

        return Step(text_of, answer)


def _scores(task: Task, output: Any, function: str | None) -> list[Result]:
    """Returns `label` and `score` of each label, best first."""
    if function is None:
        return label_scores(task, output)
    scores = _FUNCTIONS[function](np.atleast_1d(output))
    labels: Any = task.labels  # type: ignore[attr-defined]
    return [
        {"label": labels[i], "score": float(scores[i])}
        for i in np.argsort(-scores, kind="stable")
    ]
