"""Exact match and F1 of answers, by the SQuAD scripts of tf-models-official.

They are imported where they are used: `official` is no part of a start-up.
NOTE: figures here are fractions; the script of version 2 gives percent.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Judged:
    """A question's right answers beside the one that was given.

    Attributes:
        gold: Texts that are right; none if there is no answer.
        answer: What was given; "" for no answer.
    """

    gold: tuple[str, ...]
    answer: str


def squad_metrics(questions: Sequence[Judged]) -> dict[str, float]:
    """Returns `exact_match` and `f1`.

    With questions that have no answer, also those of the two kinds, as
    `has_answer_*` and `no_answer_*`.

    Args:
        questions: At least one.

    Reference: Rajpurkar et al., 2016, section 6.1; Rajpurkar et al., 2018.
    """
    dataset, answers = _in_their_form(questions)
    if all(question.gold for question in questions):
        from official.nlp.tools import squad_evaluate_v1_1

        found = squad_evaluate_v1_1.evaluate(dataset, answers)
        return {
            "exact_match": float(found["exact_match"]),
            "f1": float(found["final_f1"]),
        }
    from official.nlp.tools import squad_evaluate_v2_0

    found = squad_evaluate_v2_0.evaluate(dataset, answers)
    names = {
        "exact": "exact_match",
        "f1": "f1",
        "HasAns_exact": "has_answer_exact_match",
        "HasAns_f1": "has_answer_f1",
        "NoAns_exact": "no_answer_exact_match",
        "NoAns_f1": "no_answer_f1",
    }
    return {
        ours: float(found[theirs]) / 100.0
        for theirs, ours in names.items()
        if theirs in found
    }


def per_question(questions: Sequence[Judged]) -> np.ndarray:
    """Returns exact match and F1 of each question, float [N, 2]."""
    rows = []
    for question in questions:
        values = squad_metrics([question])
        rows.append((values["exact_match"], values["f1"]))
    return np.array(rows).reshape(-1, 2)


def tune_null_threshold(
    questions: Sequence[Judged], null_differences: Sequence[float]
) -> float:
    """Returns the threshold that gives the best F1.

    Args:
        questions: With the best answer of each, never "" by choice.
        null_differences: How far no answer lies above it; what lies above
            the threshold gets no answer.
    """
    from official.nlp.tools import squad_evaluate_v2_0

    dataset, answers = _in_their_form(questions)
    differences = {str(i): float(d) for i, d in enumerate(null_differences)}
    found = squad_evaluate_v2_0.evaluate(dataset, answers, differences)
    unanswerable = sum(not question.gold for question in questions)
    # NOTE: theirs is 0.0 where never answering is best: they are given
    # probabilities, which are not below it.
    if found["final_f1"] == 100.0 * unanswerable / len(questions):
        finite = [d for d in differences.values() if np.isfinite(d)]
        return min(finite, default=0.0) - 1.0
    return float(found["final_f1_thresh"])


def _in_their_form(
    questions: Sequence[Judged],
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Returns the articles and the answers by id that the scripts take."""
    records = [
        {"id": str(i), "answers": [{"text": text} for text in question.gold]}
        for i, question in enumerate(questions)
    ]
    answers = {str(i): question.answer for i, question in enumerate(questions)}
    return [{"paragraphs": [{"qas": records}]}], answers
