"""What the tasks of labelled data say in Python, to compare exports with."""

from collections.abc import Sequence
from typing import Any

from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.evaluation.labelled import predict
from tfllm.evaluation.predictions import Predictions


def answers(
    task: Any,
    tokenizer: Any,
    texts: Sequence[tuple[bytes, ...]],
    seq_length: int,
    stride: int,
    question_length: int = LabelledDataConfig.question_length,
) -> Predictions:
    """Returns what `tfllm.predict` works with; see `labelled_data`."""
    data = labelled_data(
        task, tokenizer, texts, seq_length, stride, question_length
    )
    return predict(task, data)


def labelled_data(
    task: Any,
    tokenizer: Any,
    texts: Sequence[tuple[bytes, ...]],
    seq_length: int,
    stride: int,
    question_length: int = LabelledDataConfig.question_length,
) -> LabelledData:
    """Returns texts as rows for a task, without gold labels.

    Args:
        task: A task of labelled data.
        tokenizer: Its tokenizer.
        texts: The texts of each record; bytes that are not UTF-8 are read as
            U+FFFD.
        seq_length: Longest row.
        stride: Tokens from one window to the next; 0: texts are cut.
        question_length: Tokens of a question at most.
    """
    records = []
    for number, group in enumerate(texts):
        words = tuple(text.decode("utf-8", "replace") for text in group)
        spans = word_spans(words[0]) if task.kind == "tagging" else ()
        records.append(Record(str(number), "a probe", words, words=spans))
    config = LabelledDataConfig(
        task=task.kind,
        seq_length=seq_length,
        stride=stride or None,
        question_length=question_length,
        batch_size=8,
        label_column="",
        labels=tuple(getattr(task, "labels", ())),
    )
    return LabelledData(records, tokenizer, config)
