"""Sequences of tags to entities, and their figures by seqeval.

BIO, BIOES and IOB1 are read alike, and as leniently as the CoNLL script: an
entity begins at B and S, where the type changes, and at I or E after an O.
seqeval (imported where it is used) says what is an entity in both places, so
what is predicted is what is counted.
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.evaluation.label_counts import named, scores_of_counts

_TAG = re.compile(r"O|[BIES](-.+)?")


def are_entity_tags(tags: Sequence[str]) -> bool:
    """Whether names are tags of entities, and not parts of speech."""
    return any(tag != "O" for tag in tags) and all(
        _TAG.fullmatch(tag) for tag in tags
    )


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns (type, first word, last word) of each entity.

    Args:
        tags: One per word; the type of a tag without one is "_".
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
    """Returns the entities of a text with their places.

    Args:
        tags: One per word.
        scores: Probability of each tag.
        offsets: First character of each word and the one after its last.
        text: What the words were cut from.

    Returns:
        By entity `entity_group`, `score` (the mean over its words), `word`
        (as it stands in the text), `start` and `end` (characters).
    """
    found = []
    for kind, first, last in entities(tags):
        start, end = offsets[first][0], offsets[last][1]
        found.append(
            {
                "entity_group": kind,
                "score": float(np.mean(scores[first : last + 1])),
                "word": text[start:end],
                "start": start,
                "end": end,
            }
        )
    return found


def entity_metrics(
    gold: list[list[str]], predicted: list[list[str]]
) -> dict[str, float]:
    """Returns precision, recall and F1 over entities.

    Args:
        gold: Tags of each text.
        predicted: Tags of each text, of the same lengths.

    Returns:
        `precision`, `recall` and `f1` over all entities, and the plain means
        over their types as `macro_*`.
    """
    values: dict[str, float] = {}
    for average, prefix in (("micro", ""), ("macro", "macro_")):
        precision, recall, f1 = _scores(gold, predicted, average)[:3]
        values[f"{prefix}precision"] = float(precision)
        values[f"{prefix}recall"] = float(recall)
        values[f"{prefix}f1"] = float(f1)
    return values


def per_entity_type(
    gold: list[list[str]], predicted: list[list[str]]
) -> dict[str, dict[str, float]]:
    """Returns precision, recall, F1 and number of entities by type."""
    kinds = sorted(
        {kind for tags in (*gold, *predicted) for kind, _, _ in entities(tags)}
    )
    table = _scores(gold, predicted, None)
    keys = ("precision", "recall", "f1", "support")
    return {
        kind: {
            key: float(column[i])
            for key, column in zip(keys, table, strict=True)
        }
        for i, kind in enumerate(kinds)
    }


def entity_counts(
    gold: list[list[str]], predicted: list[list[str]]
) -> np.ndarray:
    """Returns right, predicted and gold entities of each text, int [N, 3].

    Sums of its rows give precision, recall and F1 of any set of texts, for
    the bootstrap: seqeval would read the tags again for each.
    """
    rows = []
    for right_tags, tags in zip(gold, predicted, strict=True):
        theirs, ours = set(entities(right_tags)), set(entities(tags))
        rows.append((len(theirs & ours), len(ours), len(theirs)))
    return np.array(rows, "int64").reshape(-1, 3)


def metrics_of_counts(counts: np.ndarray) -> dict[str, float]:
    """Returns `precision`, `recall` and `f1` of rows of `entity_counts`."""
    return named(scores_of_counts(*counts.sum(axis=0)))


def _scores(
    gold: list[list[str]], predicted: list[list[str]], average: str | None
) -> Any:
    """Returns what seqeval finds."""
    from seqeval.metrics.sequence_labeling import (
        precision_recall_fscore_support,
    )

    with warnings.catch_warnings():
        # numpy's of the mean over no types, when there is no entity at all.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = precision_recall_fscore_support(
            gold, predicted, average=average, zero_division=0
        )
    return [np.nan_to_num(column) for column in found if column is not None]
