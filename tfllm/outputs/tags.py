"""Logits of words to tags."""

from collections.abc import Sequence

import numpy as np

from tfllm.data.labelled.tag_schemes import OUTSIDE, as_bioes
from tfllm.outputs.probabilities import softmax


def best_tags(
    logits: np.ndarray, labels: Sequence[str]
) -> tuple[list[str], list[float]]:
    """Returns the likeliest tag of each word, and its probability.

    Words after the end of a cut text were not read: they get the tag O, or ""
    if the task has no O, with probability 0.

    Args:
        logits: float [words, L]; NaN for words that were not read.
        labels: Names of the tags.
    """
    read = ~np.isnan(logits).any(axis=-1)  # [words]
    probabilities = softmax(np.where(read[:, None], logits, 0.0))  # [words, L]
    unread = OUTSIDE if OUTSIDE in labels else ""
    tags, scores = [], []
    for row, is_read in zip(probabilities, read.tolist(), strict=True):
        best = int(row.argmax())
        tags.append(labels[best] if is_read else unread)
        scores.append(float(row[best]) if is_read else 0.0)
    return tags, scores


def entity_tags(tags: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Returns tags of any scheme in the form that `entities` reads.

    Args:
        tags: A tag per word; "" for a word that was not read.
        labels: All label names of the task.
    """
    names = as_bioes(tuple(labels))
    return [names.get(tag, OUTSIDE) for tag in tags]
