"""Predictions of tasks in Python, to compare exports with."""

from collections.abc import Sequence

from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.kinds import LABELLED_KINDS
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.outputs.predictions import Predictions
from tfllm.prediction.forward import predict
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer


def answers(
    task: Task,
    tokenizer: Tokenizer,
    texts: Sequence[tuple[bytes, ...]],
    seq_length: int,
    stride: int,
    question_length: int = LabelledDataConfig.question_length,
) -> Predictions:
    """Predicts texts as `tfllm.predict` does; see `labelled_data`."""
    data = labelled_data(
        task, tokenizer, texts, seq_length, stride, question_length
    )
    return predict(task, data)


def labelled_data(
    task: Task,
    tokenizer: Tokenizer,
    texts: Sequence[tuple[bytes, ...]],
    seq_length: int,
    stride: int,
    question_length: int = LabelledDataConfig.question_length,
) -> LabelledData:
    """Returns the data of a task for texts without gold labels.

    Args:
        task: A task of labelled data.
        tokenizer: Tokenizer of the task.
        texts: Texts of each record; bytes that are not UTF-8 become U+FFFD.
        seq_length: Longest row.
        stride: Tokens from one window to the next; 0 cuts texts.
        question_length: Tokens of a question at most.
    """
    by_word = LABELLED_KINDS[task.kind].label_form == "words"
    records = []
    for number, group in enumerate(texts):
        decoded = tuple(text.decode("utf-8", "replace") for text in group)
        spans = word_spans(decoded[0]) if by_word else ()
        records.append(Record(str(number), "a probe", decoded, words=spans))
    config = LabelledDataConfig(
        prompt=task.prompt,
        task=task.kind,
        seq_length=seq_length,
        stride=stride or None,
        question_length=question_length,
        batch_size=8,
        label_column="",
        labels=tuple(task.labels),
    )
    return LabelledData(records, tokenizer, config)
