"""Pieces to words and entities, by numbers that are worked out here."""

from collections.abc import Sequence

import numpy as np
import pytest

from tfllm.prediction.pipelines.pieces import (
    Piece,
    entity_groups,
    tagged_pieces,
)

LABELS = ("O", "B-X", "I-X", "I-Y")
# Tokens of the text "Micro soft ab." and the scores of their labels.
PIECES = [
    Piece(("mi",), np.array([0.1, 0.6, 0.2, 0.1]), 0, 2, 1),
    Piece(("##cro",), np.array([0.1, 0.0, 0.1, 0.8]), 2, 5, 2, True),
    Piece(("soft",), np.array([0.3, 0.0, 0.5, 0.2]), 6, 10, 3),
    Piece(("a",), np.array([0.7, 0.1, 0.1, 0.1]), 11, 12, 4),
    Piece(("##b",), np.array([0.2, 0.3, 0.4, 0.1]), 12, 13, 5, True),
    Piece((".",), np.array([1.0, 0.0, 0.0, 0.0]), 13, 14, 6),
]


def join(tokens: Sequence[str]) -> str:
    return " ".join(tokens).replace(" ##", "")


def groups(strategy: str, pieces: Sequence[Piece] = PIECES) -> list[tuple]:
    found = entity_groups(pieces, LABELS, join, strategy)
    assert all(
        set(one) == {"entity_group", "score", "word", "start", "end"}
        for one in found
    )
    return [
        (
            one["entity_group"],
            one["word"],
            pytest.approx(one["score"]),
            one["start"],
            one["end"],
        )
        for one in found
        if one["entity_group"] != "O"
    ]


def test_none() -> None:
    found = tagged_pieces(PIECES, LABELS)
    assert [one["entity"] for one in found] == [
        *("B-X", "I-Y", "I-X", "O", "I-X", "O")
    ]
    assert found[1] == {
        "entity": "I-Y",
        "score": 0.8,
        "index": 2,
        "word": "##cro",
        "start": 2,
        "end": 5,
    }


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (
            "simple",
            [
                ("X", "mi", 0.6, 0, 2),
                ("Y", "##cro", 0.8, 2, 5),
                ("X", "soft", 0.5, 6, 10),
                ("X", "##b", 0.4, 12, 13),
            ],
        ),
        # Micro is B-X with 0.6, ab O with 0.7.
        ("first", [("X", "micro soft", 0.55, 0, 10)]),
        # Micro is I-Y with 0.8, ab O with 0.7.
        ("max", [("Y", "micro", 0.8, 0, 5), ("X", "soft", 0.5, 6, 10)]),
        # Micro has the means 0.1, 0.3, 0.15, 0.45, ab 0.45, 0.2, 0.25, 0.1.
        ("average", [("Y", "micro", 0.45, 0, 5), ("X", "soft", 0.5, 6, 10)]),
    ],
)
def test_strategies(strategy: str, expected: list[tuple]) -> None:
    assert groups(strategy) == expected


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-X I-X I-X", [("X", 0, 3)]),
        ("B-X B-X", [("X", 0, 1), ("X", 1, 2)]),
        ("I-X I-Y", [("X", 0, 1), ("Y", 1, 2)]),
        ("O I-X O B-X", [("O", 0, 1), ("X", 1, 2), ("O", 2, 3), ("X", 3, 4)]),
        # Tags without prefixes go on.
        ("NOUN NOUN VERB", [("NOUN", 0, 2), ("VERB", 2, 3)]),
        # BIOES and BILOU.
        ("B-X I-X E-X S-X", [("X", 0, 3), ("X", 3, 4)]),
        ("B-X L-X U-X U-X", [("X", 0, 2), ("X", 2, 3), ("X", 3, 4)]),
        ("E-X I-X", [("X", 0, 1), ("X", 1, 2)]),
    ],
)
def test_schemes(tags: str, spans: list[tuple[str, int, int]]) -> None:
    names = tags.split()
    labels = sorted(set(names))
    pieces = [
        Piece((f"w{i}",), np.eye(len(labels))[labels.index(tag)], i, i + 1, i)
        for i, tag in enumerate(names)
    ]
    found = entity_groups(pieces, labels, join, "first")
    assert [(f["entity_group"], f["start"], f["end"]) for f in found] == spans


def test_no_pieces() -> None:
    assert tagged_pieces([], LABELS) == groups("average", []) == []
