"""Predictions as JSON values: labels with scores, spans, answers, vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation.answers import Answers
from tfllm.evaluation.entities import are_entity_tags, entity_spans
from tfllm.evaluation.predictions import Predictions
from tfllm.evaluation.probabilities import sigmoid, softmax
from tfllm.evaluation.tags import best_tags

Result = dict[str, Any]


def results(found: Predictions, top_k: int = 5) -> list[Result]:
    """Returns a result for each record.

    Args:
        found: What a task said about them.
        top_k: Answers to a question at most.
    """
    make = _RESULTS[found.task.kind]
    return [
        {"id": record.id, **make(found.task, record, output, top_k)}
        for record, output in zip(found.records, found.outputs, strict=True)
    ]


def label_scores(task: Any, output: Any) -> list[Result]:
    """Returns `label` and `score` of every label, best first.

    A score is a probability: over all labels, or of each by itself if they
    do not exclude each other. The score of a regression is its number.

    Args:
        task: A Classification.
        output: What it said about a record.
    """
    if task.kind == "regression":
        return [{"label": task.labels[0], "score": float(output)}]
    to_probabilities = softmax if task.kind == "classification" else sigmoid
    scores = to_probabilities(output)
    # A stable sort: of equal ones the first label.
    return [
        {"label": task.labels[i], "score": float(scores[i])}
        for i in np.argsort(-scores, kind="stable")
    ]


def word_tags(task: Any, record: Record, output: np.ndarray) -> list[Result]:
    """Returns `entity`, `score`, `index`, `word`, `start`, `end` per word.

    Args:
        task: A Tagging.
        record: With its words.
        output: What the task said about it.
    """
    tags, scores = best_tags(output, task.labels)
    (text, *_) = record.texts
    return [
        {
            "entity": tag,
            "score": score,
            "index": index,
            "word": text[start:end],
            "start": start,
            "end": end,
        }
        for index, (tag, score, (start, end)) in enumerate(
            zip(tags, scores, record.words, strict=True), start=1
        )
    ]


def entity_groups(
    task: Any, record: Record, output: np.ndarray
) -> list[Result]:
    """Returns the entities of a text; see `entities.entity_spans`."""
    tags, scores = best_tags(output, task.labels)
    return entity_spans(tags, scores, record.words, record.texts[0])


def ranked_answers(
    answers: Answers, null_threshold: float | None, top_k: int
) -> list[Result]:
    """Returns `answer`, `start`, `end` and `score`, best first.

    Where having no answer is possible it is one of them, "" from 0 to 0, and
    the first if it is the choice.

    Args:
        answers: To a question.
        null_threshold: See `Answers.chosen`.
        top_k: How many at most.
    """
    with_null = null_threshold is not None or not answers.best
    scores = answers.probabilities(with_null).tolist()
    ranked = [
        {"score": score, "start": a.start, "end": a.end, "answer": a.text}
        for a, score in zip(answers.best, scores, strict=False)
    ]
    if with_null:
        null = {"score": scores[-1], "start": 0, "end": 0, "answer": ""}
        chosen = answers.chosen(null_threshold)
        # Behind the answers that are likelier, and never ahead of the choice.
        place = sum(r["score"] >= null["score"] for r in ranked)
        ranked.insert(max(place, 1) if chosen.text else 0, null)
    return ranked[:top_k]


def _classified(task: Any, record: Record, output: Any, _: int) -> Result:
    scores = label_scores(task, output)
    return {
        **_texts(record),
        **scores[0],
        "scores": {one["label"]: one["score"] for one in scores},
    }


def _several(task: Any, record: Record, output: Any, _: int) -> Result:
    scores = label_scores(task, output)
    return {
        **_texts(record),
        "labels": [one["label"] for one in scores if one["score"] >= 0.5],
        "scores": {one["label"]: one["score"] for one in scores},
    }


def _number(task: Any, record: Record, output: Any, _: int) -> Result:
    return {**_texts(record), "value": float(output)}


def _tagged(task: Any, record: Record, output: Any, _: int) -> Result:
    words = [
        {
            "word": one["word"],
            "start": one["start"],
            "end": one["end"],
            "label": one["entity"],
            "score": one["score"],
        }
        for one in word_tags(task, record, output)
    ]
    result: Result = {"text": record.texts[0], "words": words}
    if record.predicate is not None:
        result["predicate"] = record.predicate
    if are_entity_tags(task.labels):
        result["entities"] = entity_groups(task, record, output)
    return result


def _answered(task: Any, record: Record, output: Answers, top_k: int) -> Result:
    ranked = ranked_answers(output, task.null_threshold, top_k)
    result: Result = {"question": record.texts[0], **ranked[0]}
    if task.null_threshold is not None and output.best:
        result["null_difference"] = output.null_difference
    return {**result, "answers": ranked}


def _embedded(task: Any, record: Record, output: Any, _: int) -> Result:
    vectors = [vector.tolist() for vector in np.atleast_2d(output)]
    if len(vectors) == 1:
        return {**_texts(record), "embedding": vectors[0]}
    return {**_texts(record), "embeddings": vectors}


def _chosen(task: Any, record: Record, output: Any, _: int) -> Result:
    # Behind its own choices are those that others have more.
    scores = softmax(output[: len(record.texts) - 1])
    best = int(scores.argmax())
    return {
        "text": record.texts[0],
        "choice": best,
        "choice_text": (record.choices or record.texts[1:])[best],
        "score": float(scores[best]),
        "scores": scores.tolist(),
    }


def _texts(record: Record) -> Result:
    """Returns the texts of a record by the names of their flags."""
    names = ("text", "text_pair")
    return dict(zip(names, record.texts, strict=False))


_RESULTS: dict[str, Callable[[Any, Record, Any, int], Result]] = {
    "classification": _classified,
    "multi_label": _several,
    "regression": _number,
    "tagging": _tagged,
    "question_answering": _answered,
    "embedding": _embedded,
    "multiple_choice": _chosen,
}
