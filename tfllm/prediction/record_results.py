"""Predictions for a record as JSON values.

Each result function takes the task, a record, its pooled output, and the most
answers to return.
"""

from typing import Any

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.tag_schemes import are_entity_tags
from tfllm.outputs.answers import Answers, ranked_answers
from tfllm.outputs.entities import entity_spans
from tfllm.outputs.probabilities import sigmoid, softmax
from tfllm.outputs.tags import best_tags, entity_tags
from tfllm.tasks import Task

Result = dict[str, Any]


def label_scores(task: Task, output: Any) -> list[Result]:
    """Returns `label` and `score` of each label, best first.

    Scores are probabilities: over all labels, or of each label for
    multi-label tasks. The score of a regression is its number, after the
    activation of the task.

    Args:
        task: A Classification.
        output: Pooled output for a record, logits [L] or a number.
    """
    target = task.targets()[task.kind]
    if not target.is_class and target.axes == "B":
        return [{"label": task.labels[0], "score": float(output)}]
    to_probabilities = softmax if target.is_class else sigmoid
    scores = to_probabilities(output)
    # The sort is stable: at equal scores the first label wins.
    return [
        {"label": task.labels[i], "score": float(scores[i])}
        for i in np.argsort(-scores, kind="stable")
    ]


def word_tags(task: Task, record: Record, output: np.ndarray) -> list[Result]:
    """Returns `entity`, `score`, `index`, `word`, `start`, `end` per word.

    Args:
        task: A Tagging.
        record: Record with its words.
        output: Logits [words, L].
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
    task: Task, record: Record, output: np.ndarray
) -> list[Result]:
    """Returns the entities of a text; see `entities.entity_spans`.

    If labels are not entity tags, runs of words with one label are returned.
    """
    tags, scores = best_tags(output, task.labels)
    tags = entity_tags(tags, task.labels)
    return entity_spans(tags, scores, record.words, record.texts[0])


def label_result(task: Task, record: Record, output: Any, _: int) -> Result:
    """Returns the best label, and the scores of all labels."""
    scores = label_scores(task, output)
    return {
        **_texts(record),
        **scores[0],
        "scores": {entry["label"]: entry["score"] for entry in scores},
    }


def labels_result(task: Task, record: Record, output: Any, _: int) -> Result:
    """Returns the labels that score at least 0.5, and all scores."""
    scores = label_scores(task, output)
    return {
        **_texts(record),
        "labels": [e["label"] for e in scores if e["score"] >= 0.5],
        "scores": {entry["label"]: entry["score"] for entry in scores},
    }


def number_result(task: Task, record: Record, output: Any, _: int) -> Result:
    """Returns the predicted number."""
    result = {**_texts(record), "value": float(output)}
    # Without an activation the number needs no note.
    if task.activation != "identity":
        result["activation"] = task.activation
    return result


def tags_result(task: Task, record: Record, output: Any, _: int) -> Result:
    """Returns the label of each word, and the entities."""
    words = [
        {
            "word": word["word"],
            "start": word["start"],
            "end": word["end"],
            "label": word["entity"],
            "score": word["score"],
        }
        for word in word_tags(task, record, output)
    ]
    result: Result = {"text": record.texts[0], "words": words}
    if record.predicate is not None:
        result["predicate"] = record.predicate
    if are_entity_tags(task.labels):
        result["entities"] = entity_groups(task, record, output)
    return result


def answer_result(
    task: Task, record: Record, output: Answers, top_k: int
) -> Result:
    """Returns the best answer to a question, and the next best ones."""
    ranked = ranked_answers(output, task.null_threshold, top_k)
    result: Result = {"question": record.texts[0], **ranked[0]}
    if task.null_threshold is not None and output.best:
        result["null_difference"] = output.null_difference
    return {**result, "answers": ranked}


def vector_result(task: Task, record: Record, output: Any, _: int) -> Result:
    """Returns the vector of each text."""
    vectors = [vector.tolist() for vector in np.atleast_2d(output)]
    if len(vectors) == 1:
        return {**_texts(record), "embedding": vectors[0]}
    return {**_texts(record), "embeddings": vectors}


def choice_result(task: Task, record: Record, output: Any, _: int) -> Result:
    """Returns the best choice, and the scores of all choices."""
    # Outputs are padded to the record with the most choices.
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
    """Returns the texts of a record as `text` and `text_pair`."""
    names = ("text", "text_pair")
    return dict(zip(names, record.texts, strict=False))
