"""Joins tags of tokens to tags of words and entities, as Transformers does.

Pipelines tag the tokens (pieces) of a text; an aggregation strategy says how
pieces become words. `tfllm.predict` tags words, by their first pieces.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from tfllm.prediction.pipelines.base import Result

# Prefixes of tags that begin an entity, and of tags that end one.
_BEGINS, _ENDS = "BSU", "ESUL"
_TAG = re.compile(r"([BIESUL])-(.+)")


@dataclasses.dataclass(frozen=True)
class Piece:
    """A token of a text, or the tokens of a word.

    Attributes:
        tokens: Tokens of the vocabulary; an unknown one as in the text.
        scores: float [L], probability of each label.
        start: First character.
        end: Character after the last.
        index: Place in the row, counting special tokens before it.
        continues: Whether it belongs to the same word as the piece before.
    """

    tokens: tuple[str, ...]
    scores: np.ndarray
    start: int
    end: int
    index: int
    continues: bool = False


def tagged_pieces(
    pieces: Sequence[Piece], labels: Sequence[str]
) -> list[Result]:
    """Returns `entity`, `score`, `index`, `word`, `start`, `end` per token."""
    return [
        {
            "entity": labels[int(piece.scores.argmax())],
            "score": float(piece.scores.max()),
            "index": piece.index,
            "word": piece.tokens[0],
            "start": piece.start,
            "end": piece.end,
        }
        for piece in pieces
    ]


def entity_groups(
    pieces: Sequence[Piece],
    labels: Sequence[str],
    join: Callable[[Sequence[str]], str],
    strategy: str,
) -> list[Result]:
    """Returns `entity_group`, `score`, `word`, `start`, `end` per entity.

    NOTE: BIOES and BILOU tags are read as well; Transformers would split an
    entity before its last word.

    Args:
        pieces: Pieces of a text.
        labels: Names of the labels.
        join: Function from tokens to their text.
        strategy: "simple": pieces are not joined to words; "first": a word
            has the scores of its first piece; "max": those of the piece with
            the highest score; "average": the mean of all pieces.
    """
    if strategy != "simple":
        pieces = [_joined(word, strategy) for word in _words(pieces)]
    tags = [labels[int(piece.scores.argmax())] for piece in pieces]
    groups: list[list[int]] = []
    for i, tag in enumerate(tags):
        if groups and _goes_on(tags[i - 1], tag):
            groups[-1].append(i)
        else:
            groups.append([i])
    return [
        {
            "entity_group": tags[group[0]].split("-", 1)[-1],
            "score": float(np.mean([pieces[i].scores.max() for i in group])),
            "word": join([t for i in group for t in pieces[i].tokens]),
            "start": pieces[group[0]].start,
            "end": pieces[group[-1]].end,
        }
        for group in groups
    ]


def _words(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Returns the pieces of each word."""
    words: list[list[Piece]] = []
    for piece in pieces:
        if words and piece.continues:
            words[-1].append(piece)
        else:
            words.append([piece])
    return words


def _joined(pieces: Sequence[Piece], strategy: str) -> Piece:
    """Returns a word as one piece."""
    if strategy == "first":
        scores = pieces[0].scores
    elif strategy == "max":
        scores = max((p.scores for p in pieces), key=lambda s: s.max())
    else:
        scores = np.mean([piece.scores for piece in pieces], axis=0)
    return Piece(
        tuple(token for piece in pieces for token in piece.tokens),
        scores,
        pieces[0].start,
        pieces[-1].end,
        pieces[0].index,
    )


def _goes_on(before: str, tag: str) -> bool:
    """Returns whether two neighbouring tags belong to one entity."""
    (last, last_kind), (first, kind) = _parts(before), _parts(tag)
    return kind == last_kind and first not in _BEGINS and last not in _ENDS


def _parts(tag: str) -> tuple[str, str]:
    """Returns prefix and type of a tag; a type alone counts as I."""
    match = _TAG.fullmatch(tag)
    return (match[1], match[2]) if match else ("I", tag)
