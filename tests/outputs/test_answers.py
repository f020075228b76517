"""Answers against an enumeration, and SQuAD's figures by hand."""

import dataclasses

import numpy as np
import pytest

from tfllm.evaluation.squad import (
    Judged,
    per_question,
    squad_metrics,
    tune_null_threshold,
)
from tfllm.outputs.answers import NO_ANSWER, Window, best_answers

CONTEXT = "Anna went home early today"
# [CLS] q [SEP] and the words; "home" is wider in the second window.
FIRST = [(-1, -1)] * 3 + [(0, 4), (5, 9), (10, 14)]
SECOND = [(-1, -1)] * 3 + [(10, 14), (15, 20), (21, 26), (-1, -1)]


def windows(seed: int = 0) -> list[Window]:
    rng = np.random.default_rng(seed)
    return [
        Window(
            rng.normal(size=len(places)).astype("float32"),
            rng.normal(size=len(places)).astype("float32"),
            np.array(places),
            np.array(widest, bool),
        )
        for places, widest in (
            (FIRST, [1, 1, 1, 1, 1, 0]),
            (SECOND, [1] * 7),
        )
    ]


def enumerated(found: list[Window], longest: int) -> list[tuple]:
    """All spans, best first, by the definition."""
    spans: dict[tuple[int, int], float] = {}
    for window in found:
        for i in range(len(window.start)):
            for j in range(i, min(len(window.start), i + longest)):
                if (
                    window.offsets[i][0] >= 0
                    and window.offsets[j][0] >= 0
                    and window.widest[i]
                ):
                    place = (window.offsets[i][0], window.offsets[j][1])
                    logit = float(window.start[i]) + float(window.end[j])
                    spans[place] = max(logit, spans.get(place, -1e9))
    return sorted(
        ((logit, *place) for place, logit in spans.items()), reverse=True
    )


@pytest.mark.parametrize("longest", [1, 2, 30])
@pytest.mark.parametrize("n_best", [1, 3, 50])
def test_the_best_of_all_spans(longest: int, n_best: int) -> None:
    for seed in range(5):
        found = windows(seed)
        answers = best_answers(found, CONTEXT, n_best, longest)
        expected = enumerated(found, longest)[:n_best]
        assert [
            (pytest.approx(a.logit), a.start, a.end) for a in answers.best
        ] == expected
        for answer in answers.best:
            assert answer.text == CONTEXT[answer.start : answer.end]
            assert 1 <= len(answer.text.split()) <= longest
        null = min(float(w.start[0]) + float(w.end[0]) for w in found)
        assert answers.null_logit == pytest.approx(null)


def test_when_there_is_no_answer() -> None:
    (first, _) = windows()
    answers = best_answers([first], CONTEXT)
    edge = answers.null_difference
    assert edge == answers.null_logit - answers.best[0].logit
    assert answers.chosen(None) == answers.chosen(edge) == answers.best[0]
    assert answers.chosen(edge - 1e-6) == NO_ANSWER
    # A decoder says so at another place.
    behind = dataclasses.replace(first, null=2)
    assert best_answers([behind], CONTEXT).null_logit == pytest.approx(
        float(first.start[2] + first.end[2])
    )
    outside = Window(
        first.start, first.end, first.offsets * 0 - 1, first.widest
    )
    nothing = best_answers([outside], CONTEXT)
    assert nothing.best == []
    assert nothing.chosen(None) == NO_ANSWER
    assert nothing.probabilities(with_null=False).tolist() == [1.0]


def test_probabilities_are_a_softmax() -> None:
    answers = best_answers(windows(), CONTEXT, n_best=3)
    powers = np.exp([*(a.logit for a in answers.best), answers.null_logit])
    assert answers.probabilities(with_null=True) == pytest.approx(
        powers / powers.sum()
    )
    assert answers.probabilities(with_null=False) == pytest.approx(
        powers[:3] / powers[:3].sum()
    )


ANSWERABLE = [
    Judged(("the red house", "house"), "House"),
    # Two of three words right, three of four found: 2 * .5 * 2/3 / (...).
    Judged(("big old tree",), "old tree of oak"),
    Judged(("1999",), ""),
]


def test_version_1_by_hand() -> None:
    values = squad_metrics(ANSWERABLE)
    f1 = 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)
    assert values == pytest.approx({"exact_match": 1 / 3, "f1": (1 + f1) / 3})
    assert per_question(ANSWERABLE) == pytest.approx(
        np.array([[1, 1], [0, f1], [0, 0]])
    )


def test_version_2_by_hand() -> None:
    questions = [
        *ANSWERABLE[:1],
        Judged((), ""),
        Judged((), "x"),
        Judged((), ""),
    ]
    values = squad_metrics(questions)
    assert values == pytest.approx(
        {
            "exact_match": 3 / 4,
            "f1": 3 / 4,
            "has_answer_exact_match": 1.0,
            "has_answer_f1": 1.0,
            "no_answer_exact_match": 2 / 3,
            "no_answer_f1": 2 / 3,
        }
    )
    assert per_question(questions)[:, 0].tolist() == [1, 1, 0, 1]


def f1_at(
    edge: float, questions: list[Judged], differences: np.ndarray
) -> float:
    """Mean F1 of answers of one word."""
    right = [
        not q.gold if d > edge else q.answer in q.gold
        for q, d in zip(questions, differences, strict=True)
    ]
    return float(np.mean(right))


def test_the_threshold_is_the_best_one() -> None:
    rng = np.random.default_rng(0)
    # "a" would be no word: the scripts leave out articles.
    for _ in range(20):
        questions = [
            Judged(
                ("x",) if rng.random() < 0.5 else (),
                str(rng.choice(["x", "y"])),
            )
            for _ in range(12)
        ]
        differences = rng.normal(size=12) * 3 - 1
        threshold = tune_null_threshold(questions, differences)
        best = max(
            f1_at(edge, questions, differences) for edge in [-1e9, *differences]
        )
        assert f1_at(threshold, questions, differences) == best


def test_never_answering_may_be_best() -> None:
    questions = [Judged((), "x"), Judged(("x",), "y")]
    threshold = tune_null_threshold(questions, [-3.0, -5.0])
    assert threshold < -5.0
