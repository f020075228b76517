"""Exact match and F1 of answers, by the SQuAD scripts of tf-models-official.

`official` is imported where it is used, to keep the start-up short.
NOTE: figures here are fractions; the script of version 2 gives percent.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Judged:
    """The right answers of a question and the predicted one.

    Attributes:
        gold: Right answers; empty if the question has none.
        answer: Predicted answer; "" for no answer.
    """

    gold: tuple[str, ...]
    answer: str


def squad_metrics(questions: Sequence[Judged]) -> dict[str, float]:
    """Returns `exact_match` and `f1` of answers.

    If some questions have no answer, `has_answer_*` and `no_answer_*` are
    the same figures for both kinds of questions.

    Args:
        questions: At least one question.

    Reference: Rajpurkar et al., 2016, section 6.1; Rajpurkar et al., 2018.
    """
    dataset, answers = _official_form(questions)
    if all(question.gold for question in questions):
        from official.nlp.tools import squad_evaluate_v1_1

        scores = squad_evaluate_v1_1.evaluate(dataset, answers)
        return {
            "exact_match": float(scores["exact_match"]),
            "f1": float(scores["final_f1"]),
        }
    from official.nlp.tools import squad_evaluate_v2_0

    scores = squad_evaluate_v2_0.evaluate(dataset, answers)
    names = {
        "exact": "exact_match",
        "f1": "f1",
        "HasAns_exact": "has_answer_exact_match",
        "HasAns_f1": "has_answer_f1",
        "NoAns_exact": "no_answer_exact_match",
        "NoAns_f1": "no_answer_f1",
    }
    return {
        ours: float(scores[theirs]) / 100.0
        for theirs, ours in names.items()
        if theirs in scores
    }


def per_question(questions: Sequence[Judged]) -> np.ndarray:
    """Returns exact match and F1 of each question, float [N, 2]."""
    rows = []
    for question in questions:
        scores = squad_metrics([question])
        rows.append((scores["exact_match"], scores["f1"]))
    return np.array(rows).reshape(-1, 2)


def tune_null_threshold(
    questions: Sequence[Judged], null_differences: Sequence[float]
) -> float:
    """Returns the null threshold with the best F1.

    Args:
        questions: Questions with their best answers, without a threshold.
        null_differences: Logit of no answer less that of the best answer,
            per question. Questions above the threshold get no answer.
    """
    from official.nlp.tools import squad_evaluate_v2_0

    dataset, answers = _official_form(questions)
    differences = {str(i): float(d) for i, d in enumerate(null_differences)}
    scores = squad_evaluate_v2_0.evaluate(dataset, answers, differences)
    unanswerable = sum(not question.gold for question in questions)
    # NOTE: the script returns 0.0 if never answering is best, as it expects
    # probabilities; logit differences may lie below 0.
    if scores["final_f1"] == 100.0 * unanswerable / len(questions):
        finite = [d for d in differences.values() if np.isfinite(d)]
        return min(finite, default=0.0) - 1.0
    return float(scores["final_f1_thresh"])


def _official_form(
    questions: Sequence[Judged],
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Returns articles, and answers by id, in the form of the scripts."""
    records = [
        {"id": str(i), "answers": [{"text": text} for text in question.gold]}
        for i, question in enumerate(questions)
    ]
    answers = {str(i): question.answer for i, question in enumerate(questions)}
    return [{"paragraphs": [{"qas": records}]}], answers
