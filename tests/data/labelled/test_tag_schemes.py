"""Tests of tfllm.data.labelled.tag_schemes; seqeval says what is right."""

import itertools
import random

import pytest
import seqeval.scheme

from tfllm.data.bad_records import BadRecord
from tfllm.data.labelled.tag_schemes import (
    SPELLINGS,
    Spelling,
    TagScheme,
    are_entity_tags,
    as_bioes,
    find_scheme,
    scheme_of,
)
from tfllm.outputs.entities import entities


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["O B-X I-X O", "B-Y B-Y"], "bio"),
        (["O I-X I-X O", "I-Y B-Y"], "iob1"),
        (["I-X I-Y"], "iob1"),
        (["B-X I-X E-X O"], "bioes"),
        (["O S-X"], "bioes"),
        (["O I-X E-X E-Y", "E-X E-X"], "ioe2"),
        (["O I-X I-X O E-Y I-Y"], "ioe1"),
        (["B-X L-X O U-Y", "B-Y I-Y L-Y"], "bilou"),
        (["O U-X"], "bilou"),
        (["B-X M-X E-X S-Y"], "bmes"),
        (["B-X M-X E-X W-Y"], "bmewo"),
        (["B M E S S B E"], "bmes"),
        (["O B I O"], "bio"),
        (["NN VB O"], "none"),
        # Single letters that are no tags of entities, but for one or two.
        (["N V D S O", "S V O"], "none"),
        (["S V O O", "S V O S"], "none"),
        (["O O"], "bio"),
        # A scheme with a mistake, which the check then finds.
        (["B-X I-X", "O I-X"], "bio"),
        (["B-X I-X I-X O", "B-X O B-Y I-Y O", "B-X E-X"], "bio"),
        (["B-X L-X O U-Y", "B-Y I-Y L-Y", "O S-X"], "bilou"),
        # Slips of the pen, likewise.
        (["B-X I-X", "O B_X"], "bio"),
        (["I-X O", "IX", "I-Y B-Y"], "iob1"),
    ],
)
def test_schemes_are_found(sentences: list[str], scheme: str) -> None:
    assert find_scheme(tags.split() for tags in sentences).name == scheme


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_are_found(spelling: Spelling) -> None:
    tags = [spelling.tag(*parts) for parts in zip("BIB", "XXY", strict=True)]
    assert find_scheme([["O", *tags]]) == TagScheme("bio", spelling)
    assert are_entity_tags(["O", *tags])
    assert as_bioes(("O", *tags)) == {
        "O": "O",
        tags[0]: "B-X",
        tags[1]: "I-X",
        tags[2]: "B-Y",
    }
    # Types that hold separators or letters of the scheme.
    types = ("work-of_art", "B", "a_B-C")
    tags = [spelling.tag("I", kind) for kind in types]
    assert [spelling.parts(tag) for tag in tags] == [("I", k) for k in types]


def test_the_first_spelling_that_fits_counts() -> None:
    # Type E of the letter B, or type B of the letter E.
    assert as_bioes(("O", "B-E", "I-E"))["B-E"] == "B-E"
    # I_B says by its fellows that its letter comes last.
    assert as_bioes(("O", "I_B", "LOC_I", "LOC_B"))["I_B"] == "B-I"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["O", "B-PER", "I-creative-work", "S", "E-X"], True),
        (["O", "PER-B", "PER-I"], True),
        (["B", "M", "E", "S"], True),
        (["O", "B-PER", "U-PER", "L-PER"], True),
        (["NOUN", "O"], False),
        (["O"], False),
        (["N", "V", "S", "O"], False),
        (["S", "O"], False),
        (["NN-S", "VB-S", "NN-L"], False),
        (["O", "B-PER", "I-PER", "X"], False),
    ],
)
def test_which_names_are_tags(labels: list[str], expected: bool) -> None:
    assert are_entity_tags(labels) is expected
    tags = scheme_of(labels, [labels])
    assert (tags.name != "none") is expected


def test_other_labels_are_runs_of_their_own_type() -> None:
    tags = as_bioes(("NOUN", "VERB", "O"))
    assert entities([tags[t] for t in ("NOUN", "NOUN", "VERB", "O")]) == [
        ("NOUN", 0, 1),
        ("VERB", 2, 2),
    ]


@pytest.mark.parametrize(
    ("tags", "scheme", "expected"),
    [
        ("O B-X I-X B-X B-Y O", "bio", None),
        ("B-X I-X E-X S-Y O S-X", "bioes", None),
        ("NN I-X", "none", None),
        ("I-X I-X B-X I-X I-Y O I-X", "iob1", "B-X I-X B-X I-X B-Y O B-X"),
        ("X-I X-B Y-I", "iob1", "X-B X-B Y-B"),
        ("E-X I-X O", "ioe1", None),
        ("E-X I-X E-X E-Y", "ioe2", None),
        ("B-X I-X L-X U-X O", "bilou", None),
        ("S B M M E", "bmes", None),
    ],
)
def test_good_tags(tags: str, scheme: str, expected: str | None) -> None:
    found = find_scheme([tags.split()], scheme)
    assert found.read(tags.split()) == tuple((expected or tags).split())


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
        ("I-X O", "ioe2", 1),
        ("I-X E-X O", "ioe1", 2),
        ("O E-X", "ioe1", 1),
        ("B-X U-X", "bilou", 1),
        ("B-X E-X", "bilou", 1),
        ("B-X I-X", "bmes", 1),
    ],
)
def test_bad_tags_say_which_word(tags: str, scheme: str, word: int) -> None:
    with pytest.raises(BadRecord, match=f"word {word + 1}: .* {scheme}") as e:
        TagScheme(scheme).read(tags.split())
    assert e.value.word == word


def spell(spans: list[tuple[str, int]], scheme: str) -> list[str]:
    """Tags of spans (type, words) by definition; O for no type."""
    tags = []
    for number, (kind, size) in enumerate(spans):
        last = spans[number - 1][0] if number else ""
        following = spans[number + 1][0] if number + 1 < len(spans) else ""
        letters = {
            "bio": "B" + "I" * (size - 1),
            "iob1": ("B" if last == kind else "I") + "I" * (size - 1),
            "ioe2": "I" * (size - 1) + "E",
            "ioe1": "I" * (size - 1) + ("E" if following == kind else "I"),
            "bioes": "S" if size == 1 else "B" + "I" * (size - 2) + "E",
            "bilou": "U" if size == 1 else "B" + "I" * (size - 2) + "L",
            "bmes": "S" if size == 1 else "B" + "M" * (size - 2) + "E",
            "bmewo": "W" if size == 1 else "B" + "M" * (size - 2) + "E",
        }[scheme]
        tags += [f"{x}-{kind}" for x in letters] if kind else ["O"] * size
    return tags


def some_spans(rng: random.Random) -> list[tuple[str, int]]:
    """Spans of three types and none; all kinds of neighbours."""
    return [
        (rng.choice(("", "X", "Y", "work-of-art")), rng.randint(1, 3))
        for _ in range(6)
    ]


@pytest.mark.parametrize(
    "scheme",
    ["bio", "iob1", "ioe2", "ioe1", "bioes", "bilou", "bmes", "bmewo"],
)
def test_schemes_say_the_same_as_in_seqeval(scheme: str) -> None:
    rng = random.Random(0)
    texts = [some_spans(rng) for _ in range(50)]
    sentences = [spell(spans, scheme) for spans in texts]
    found = find_scheme(sentences)
    assert found == TagScheme(scheme)
    tags = [found.read(sentence) for sentence in sentences]
    names = as_bioes(tuple({tag for sentence in tags for tag in sentence}))
    ours = [entities([names[tag] for tag in sentence]) for sentence in tags]
    for spans, one in zip(texts, ours, strict=True):
        ends = itertools.accumulate(size for _, size in spans)
        assert one == [
            (kind, end - size, end - 1)
            for (kind, size), end in zip(spans, ends, strict=True)
            if kind
        ]
    # Its IOE1 misses an entity of one word that E- opens, as its source says.
    strict = {
        "bio": "IOB2",
        "iob1": "IOB1",
        "ioe2": "IOE2",
        "bioes": "IOBES",
        "bilou": "BILOU",
    }.get(scheme)
    if strict:
        theirs = seqeval.scheme.Entities(
            sentences, getattr(seqeval.scheme, strict)
        ).entities
        assert ours == [
            [(e.tag, e.start, e.end - 1) for e in one] for one in theirs
        ]
