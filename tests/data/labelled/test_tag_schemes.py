"""Tests of tfllm.data.labelled.tag_schemes."""

import pytest

from tfllm.data.bad_records import BadRecord
from tfllm.data.labelled.tag_schemes import find_scheme, read_tags


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["O B-X I-X O", "B-Y B-Y"], "bio"),
        (["O I-X I-X O", "I-Y B-Y"], "iob1"),
        (["I-X I-Y"], "iob1"),
        (["B-X I-X E-X O"], "bioes"),
        (["O S-X"], "bioes"),
        (["NN VB O"], "none"),
        (["O O"], "bio"),
        # BIO with a mistake, which the check then finds.
        (["B-X I-X", "O I-X"], "bio"),
        # Slips of the pen, likewise.
        (["B-X I-X", "O B_X"], "bio"),
        (["I-X O", "IX", "I-Y B-Y"], "iob1"),
    ],
)
def test_schemes_are_found(sentences: list[str], scheme: str) -> None:
    assert find_scheme(tags.split() for tags in sentences) == scheme


@pytest.mark.parametrize(
    ("tags", "scheme", "expected"),
    [
        ("O B-X I-X B-X B-Y O", "bio", None),
        ("B-X I-X E-X S-Y O S-X", "bioes", None),
        ("NN I-X", "none", None),
        ("I-X I-X B-X I-X I-Y O I-X", "iob1", "B-X I-X B-X I-X B-Y O B-X"),
    ],
)
def test_good_tags(tags: str, scheme: str, expected: str | None) -> None:
    assert read_tags(tags.split(), scheme) == tuple((expected or tags).split())


@pytest.mark.parametrize(
    ("tags", "scheme", "word"),
    [
        ("O I-X", "bio", 1),
        ("B-X I-Y", "bio", 1),
        ("B-X E-X", "bio", 1),
        ("O X", "bio", 1),
        ("O B_X", "bio", 1),
        ("B-X B-X E-X", "bioes", 1),
        ("B-X O", "bioes", 1),
        ("O B-X I-X", "bioes", 2),
        ("B-X E-Y", "bioes", 1),
        ("S-X I-X", "bioes", 1),
        ("O B-X", "iob1", 1),
        ("I-X B-Y", "iob1", 1),
    ],
)
def test_bad_tags_say_which_word(tags: str, scheme: str, word: int) -> None:
    with pytest.raises(BadRecord, match=f"word {word + 1}: ") as caught:
        read_tags(tags.split(), scheme)
    assert caught.value.word == word
