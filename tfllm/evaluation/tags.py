"""Logits of words to tags."""

from collections.abc import Sequence

import numpy as np

from tfllm.evaluation.probabilities import softmax

OUTSIDE = "O"


def best_tags(
    logits: np.ndarray, labels: Sequence[str]
) -> tuple[list[str], list[float]]:
    """Returns the likeliest tag of each word, and its probability.

    A word behind the end of a text that was cut was not read: it has the
    probability 0 and is outside, or "" where there is no such tag.

    Args:
        logits: float [words, L]; not a number where a word was not read.
        labels: Names of the tags.
    """
    read = ~np.isnan(logits).any(axis=-1)
    probabilities = softmax(np.where(read[:, None], logits, 0.0))
    unread = OUTSIDE if OUTSIDE in labels else ""
    tags, scores = [], []
    for row, is_read in zip(probabilities, read.tolist(), strict=True):
        best = int(row.argmax())
        tags.append(labels[best] if is_read else unread)
        scores.append(float(row[best]) if is_read else 0.0)
    return tags, scores
