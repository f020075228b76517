"""Records of extractive question answering.

They come from SQuAD's JSON (1.1 and 2.0), or from rows with a question, a
context and `answers`, a dict of `text` and `answer_start` as in the datasets
packages. Without answers, the context does not answer the question.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tfllm import file_access
from tfllm.data import text_files
from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.record import (
    Record,
    read_id,
    read_table_records,
    read_text,
)
from tfllm.data.tables.row import Row, is_tfds
from tfllm.data.tables.rows import suffix_of


class GoldAnswer(NamedTuple):
    """A right answer, and its first character in the context."""

    text: str
    start: int


def read_question_records(
    files: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Record]:
    """Yields the records of files; see `read.read_records`."""
    if _are_squad(files, config):
        numbers = itertools.count()
        for path in file_access.match_files(files, flag):
            yield from _read_squad(path, config, bad, numbers)
        return
    yield from read_table_records(
        files, _with_usual_columns(config), bad, flag, _row_record
    )


def _row_record(row: Row, number: int, config: LabelledDataConfig) -> Record:
    """Returns the record of a row."""
    answers = None
    if config.label_column:
        answers = row.get(config.label_column)
        if answers is None:
            raise BadRecord(f"{config.label_column!r} is null")
    return question_record(
        read_text(row, config.text_column),
        read_text(row, config.text_pair_column),
        answers,
        _question_id(row, number, config),
        row.where,
    )


def _question_id(row: Row, number: int, config: LabelledDataConfig) -> str:
    """Returns the id in the id column, else in `id`, else the number."""
    if config.id_column or "id" not in row.fields:
        return read_id(row, number, config)
    return str(row.fields["id"])


def question_record(
    question: str,
    context: str,
    answers: Any = None,
    id: str = "",
    where: str = "",
) -> Record:
    """Returns the record of a question.

    Args:
        question: The question.
        context: The text that may answer it.
        answers: None if unknown; else a list of dicts of `text` and
            `answer_start`, or a dict of two lists.
        id: Id of the question.
        where: File and line, for messages.

    Raises:
        BadRecord: The context does not have an answer at its place.
    """
    gold = None
    if answers is not None:
        gold = tuple(_gold_answer(a, context) for a in _as_list(answers))
    return Record(id, where, (question, context), gold)


def _as_list(answers: Any) -> list[Any]:
    """Returns answers as a list of dicts."""
    if isinstance(answers, dict) and {"text", "answer_start"} <= set(answers):
        texts, starts = answers["text"], answers["answer_start"]
        if isinstance(texts, list) and isinstance(starts, list):
            return [
                {"text": text, "answer_start": start}
                for text, start in zip(texts, starts, strict=False)
            ]
    if isinstance(answers, list):
        return answers
    raise BadRecord(
        f"the answers must be a list, or a dict of lists `text` and "
        f"`answer_start`, not {answers!r}"
    )


def _gold_answer(item: Any, context: str) -> GoldAnswer:
    """Checks and returns an answer."""
    if not isinstance(item, dict):
        raise BadRecord(f"an answer must be an object, not {item!r}")
    text, start = item.get("text"), item.get("answer_start")
    if not isinstance(text, str) or not text.strip():
        raise BadRecord(f"the `text` of an answer must not be {text!r}")
    if not isinstance(start, int) or start < 0:
        raise BadRecord(f"`answer_start` must be a place, not {start!r}")
    in_context = context[start : start + len(text)]
    if in_context != text:
        raise BadRecord(
            f"the answer {text!r} does not stand at character {start} of the "
            f"context, but {in_context!r}"
        )
    return GoldAnswer(text, start)


def _are_squad(files: str, config: LabelledDataConfig) -> bool:
    """Returns whether files are SQuAD's JSON, by `format` or their names."""
    if config.table.format != "auto" or is_tfds(files):
        return config.table.format == "squad"
    return all(suffix_of(path) == ".json" for path in file_access.split(files))


def _with_usual_columns(config: LabelledDataConfig) -> LabelledDataConfig:
    """Replaces default columns by those of the datasets packages."""
    usual = {"text": "question", "": "context", "label": "answers"}
    names = {}
    for name in ("text_column", "text_pair_column"):
        column = getattr(config, name)
        names[name] = usual.get(column, column)
    label = config.label_column
    return dataclasses.replace(
        config, **names, label_column=label and usual.get(label, label)
    )


def _read_squad(
    path: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    numbers: Iterator[int],
) -> Iterator[Record]:
    """Yields the questions of a file; `numbers` replace missing ids."""
    with text_files.open_decoded(path, config.table.encoding) as file:
        try:
            articles = json.load(file)["data"]
            paragraphs = [
                (paragraph["context"], list(paragraph["qas"]))
                for article in articles
                for paragraph in article["paragraphs"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                "A SQuAD file must be an object with `data`, whose articles "
                "hold `paragraphs` of a `context` and its `qas`. Received: "
                f"{path} ({type(error).__name__}: {error})."
            ) from error
    for place, (context, questions) in enumerate(paragraphs, start=1):
        for question in questions:
            where = f"{path}, paragraph {place}"
            try:
                if not isinstance(question, dict):
                    raise BadRecord(f"a question must be an object: {question}")
                id = str(question.get("id", next(numbers)))
                where = f"{where} question {id}"
                yield _squad_record(question, context, config, id, where)
            except BadRecord as error:
                bad.add(where, path, error)


def _squad_record(
    question: dict[str, Any],
    context: Any,
    config: LabelledDataConfig,
    id: str,
    where: str,
) -> Record:
    """Returns the record of a question in SQuAD's form."""
    answers = None
    if config.label_column:
        if "answers" not in question and "is_impossible" not in question:
            raise BadRecord("it has neither `answers` nor `is_impossible`")
        answers = question.get("answers", [])
        if question.get("is_impossible"):
            answers = []
    text = question.get("question")
    for name, value in (("question", text), ("context", context)):
        if not isinstance(value, str) or not value.strip():
            raise BadRecord(f"`{name}` must be text, not {value!r}")
    return question_record(text, context, answers, id, where)  # type: ignore[arg-type]
