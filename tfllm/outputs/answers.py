"""Start and end logits over windows of a text to answers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

N_BEST = 20
MAX_ANSWER_TOKENS = 30


@dataclasses.dataclass(frozen=True)
class Window:
    """Outputs of a model for one window of a context.

    Attributes:
        start: float [T], logits that an answer starts at each token.
        end: float [T], logits that an answer ends at each token.
        offsets: int [T, 2], characters of each token in the context; (-1,
            -1) for other tokens.
        widest: bool [T], whether no other window shows the token with more
            context. Only there may an answer start.
        null: Token that stands for no answer: the first one of an encoder,
            the last one of a decoder.
    """

    start: np.ndarray
    end: np.ndarray
    offsets: np.ndarray
    widest: np.ndarray
    null: int = 0


@dataclasses.dataclass(frozen=True)
class Answer:
    """A part of a context.

    Attributes:
        text: The part, as in the context.
        start: First character.
        end: Character after the last.
        logit: Sum of the logits of its first and last token.
    """

    text: str
    start: int
    end: int
    logit: float


# Stands for having no answer.
NO_ANSWER = Answer("", 0, 0, 0.0)


@dataclasses.dataclass(frozen=True)
class Answers:
    """The best answers to a question.

    Attributes:
        best: Best answers first; empty if no window has a token of the
            context.
        null_logit: Logit of no answer, the least over the windows.
    """

    best: list[Answer]
    null_logit: float

    @property
    def null_difference(self) -> float:
        """Logit of no answer less that of the best answer."""
        if not self.best:
            return float("inf")
        return self.null_logit - self.best[0].logit

    def chosen(self, null_threshold: float | None) -> Answer:
        """Returns the best answer, or NO_ANSWER.

        Args:
            null_threshold: Largest `null_difference` with an answer; None:
                always answer.
        """
        if not self.best:
            return NO_ANSWER
        if null_threshold is None or self.null_difference <= null_threshold:
            return self.best[0]
        return NO_ANSWER

    def probabilities(self, with_null: bool) -> np.ndarray:
        """Returns the softmax over `best`, followed by no answer.

        Args:
            with_null: Whether no answer is one of the choices.
        """
        logits = [answer.logit for answer in self.best]
        logits += [self.null_logit] if with_null or not logits else []
        powers = np.exp(np.array(logits, "float64") - max(logits))
        return powers / powers.sum()


def ranked_answers(
    answers: Answers, null_threshold: float | None, top_k: int
) -> list[dict[str, Any]]:
    """Returns `answer`, `start`, `end` and `score` of the best answers.

    If a question may have no answer, that is one of them: "" from 0 to 0. It
    comes first if it is chosen.

    Args:
        answers: Answers to a question.
        null_threshold: See `Answers.chosen`.
        top_k: Answers at most.

    Returns:
        Dicts, best first.
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
        # After all likelier answers, and after the chosen one.
        place = sum(r["score"] >= null["score"] for r in ranked)
        ranked.insert(max(place, 1) if chosen.text else 0, null)
    return ranked[:top_k]


def best_answers(
    windows: Sequence[Window],
    context: str,
    n_best: int = N_BEST,
    max_tokens: int = MAX_ANSWER_TOKENS,
) -> Answers:
    """Returns the likeliest answers over all windows of a context.

    All spans are compared, not only those between the likeliest ends.

    Args:
        windows: Windows of the context.
        context: The text.
        n_best: Number of answers.
        max_tokens: Longest answer in tokens.

    Reference: Devlin et al., 2019, sections 4.2 and 4.3.
    """
    logits: dict[tuple[int, int], float] = {}
    for window in windows:
        for span, logit in _best_spans(window, n_best, max_tokens):
            logits[span] = max(logit, logits.get(span, -np.inf))
    # The sort is stable: at equal logits the first in the text wins.
    ranked = sorted(sorted(logits.items()), key=lambda item: -item[1])
    return Answers(
        [
            Answer(context[start:end], start, end, logit)
            for (start, end), logit in ranked[:n_best]
        ],
        min(float(w.start[w.null]) + float(w.end[w.null]) for w in windows),
    )


def _best_spans(
    window: Window, n_best: int, max_tokens: int
) -> list[tuple[tuple[int, int], float]]:
    """Returns ((start, end) in characters, logit) of the best spans."""
    inside = window.offsets[:, 0] >= 0
    first = np.flatnonzero(inside & window.widest)
    last = np.flatnonzero(inside)
    # With F first and L last tokens.
    length = last[None, :] - first[:, None] + 1  # [F, L]
    logits = np.where(
        (length >= 1) & (length <= max_tokens),
        window.start[first, None].astype("float64") + window.end[None, last],
        -np.inf,
    ).ravel()  # [F * L]
    if not logits.size:
        return []
    count = min(n_best, logits.size)
    top = np.argpartition(-logits, count - 1)[:count]
    spans = []
    for place in top[np.isfinite(logits[top])]:
        row, column = divmod(int(place), len(last))
        start = int(window.offsets[first[row], 0])
        end = int(window.offsets[last[column], 1])
        spans.append(((start, end), float(logits[place])))
    return spans
