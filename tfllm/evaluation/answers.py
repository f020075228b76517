"""Start and end logits over windows of a text to answers."""

import dataclasses
from collections.abc import Sequence

import numpy as np

N_BEST = 20
MAX_ANSWER_TOKENS = 30


@dataclasses.dataclass(frozen=True)
class Window:
    """What a model says about one window of a context.

    Attributes:
        start: float [T], logits of the first token.
        end: float [T], logits of the last token.
        offsets: int [T, 2], characters of each token in the context; (-1,
            -1) where it is not of the context.
        widest: bool [T], whether no other window shows a token with more
            context: an answer may start there.
        null: Where having no answer starts and ends: the first token of an
            encoder, the last of a decoder.
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
        text: As it stands in the context.
        start: Its first character.
        end: The one after its last.
        logit: Sum of the logits of its first and last token.
    """

    text: str
    start: int
    end: int
    logit: float


# What is returned where there is none.
NO_ANSWER = Answer("", 0, 0, 0.0)


@dataclasses.dataclass(frozen=True)
class Answers:
    """The best answers to a question.

    Attributes:
        best: Best first; empty if no window has a token of the context.
        null_logit: The least over the windows, of there being no answer.
    """

    best: list[Answer]
    null_logit: float

    @property
    def null_difference(self) -> float:
        """How far no answer lies above the best one."""
        if not self.best:
            return float("inf")
        return self.null_logit - self.best[0].logit

    def chosen(self, null_threshold: float | None) -> Answer:
        """Returns the best answer, or NO_ANSWER.

        Args:
            null_threshold: Largest `null_difference` with an answer; None
                answers always.
        """
        if not self.best:
            return NO_ANSWER
        if null_threshold is None or self.null_difference <= null_threshold:
            return self.best[0]
        return NO_ANSWER

    def probabilities(self, with_null: bool) -> np.ndarray:
        """Returns the softmax over `best`, and behind it over no answer."""
        logits = [answer.logit for answer in self.best]
        logits += [self.null_logit] if with_null or not logits else []
        powers = np.exp(np.array(logits, "float64") - max(logits))
        return powers / powers.sum()


def best_answers(
    windows: Sequence[Window],
    context: str,
    n_best: int = N_BEST,
    max_tokens: int = MAX_ANSWER_TOKENS,
) -> Answers:
    """Returns the likeliest parts of a context.

    All spans are compared, not only those between the likeliest ends.

    Args:
        windows: All that show a part of the context.
        context: The text.
        n_best: How many answers.
        max_tokens: Longest answer.

    Reference: Devlin et al., 2019, sections 4.2 and 4.3.
    """
    found: dict[tuple[int, int], float] = {}
    for window in windows:
        for place, logit in _best_spans(window, n_best, max_tokens):
            found[place] = max(logit, found.get(place, -np.inf))
    # A stable sort: of equal ones the first in the text.
    ranked = sorted(sorted(found.items()), key=lambda item: -item[1])
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
    """Returns ((first character, end), logit) of the best spans."""
    inside = window.offsets[:, 0] >= 0
    first = np.flatnonzero(inside & window.widest)
    last = np.flatnonzero(inside)
    # S starts, E ends.
    length = last[None, :] - first[:, None] + 1
    logits = np.where(
        (length >= 1) & (length <= max_tokens),
        window.start[first, None].astype("float64") + window.end[None, last],
        -np.inf,
    ).ravel()
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
