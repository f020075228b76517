"""Sequences of tags to entities.

Tags have the form of `tag_schemes.as_bioes`. They are read as leniently as by
the CoNLL script: an entity begins at B and S, where the type changes, and at I
or E after an O; it ends at E and S. Prediction and evaluation both use seqeval
(imported where it is used), so that predicted entities are those counted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns (type, first word, last word) of each entity.

    Args:
        tags: A tag per word; the type of a tag without type is "_".
    """
    from seqeval.metrics.sequence_labeling import get_entities

    return [
        (kind, first, last) for kind, first, last in get_entities(list(tags))
    ]


def entity_spans(
    tags: Sequence[str],
    scores: Sequence[float],
    offsets: Sequence[tuple[int, int]],
    text: str,
) -> list[dict[str, Any]]:
    """Returns the entities of a text with scores and offsets.

    Args:
        tags: A tag per word.
        scores: Probability of each tag.
        offsets: (start, end) characters of each word.
        text: Text of the words.

    Returns:
        `entity_group`, `score` (the mean over words), `word` (as in the
        text), `start` and `end` (characters) of each entity.
    """
    spans = []
    for kind, first, last in entities(tags):
        start, end = offsets[first][0], offsets[last][1]
        spans.append(
            {
                "entity_group": kind,
                "score": float(np.mean(scores[first : last + 1])),
                "word": text[start:end],
                "start": start,
                "end": end,
            }
        )
    return spans
