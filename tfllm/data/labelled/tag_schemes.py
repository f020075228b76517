"""Tags of words: which scheme they follow, and whether they do.

An entity of type X is tagged
    BIO:   B-X I-X I-X      (also called IOB2)
    BIOES: B-X I-X E-X, or S-X for a single word
    IOB1:  I-X I-X I-X, with B-X only where one follows another of its type
and all else O.
"""

import re
from collections.abc import Iterable, Sequence

from tfllm.data.bad_records import BadRecord

TAG_SCHEMES = ("auto", "bio", "bioes", "iob1", "none")
OUTSIDE = "O"
_ENTITY = re.compile(r"[BIES]-.+")


def find_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """Returns the scheme that tags follow; "none" for parts of speech.

    Tags are those of entities where most of them, but O, have their form:
    a slip of the pen is an error of its scheme. IOB1 is what holds an entity
    that I- opens, and B- only where IOB1 has it.

    Args:
        sentences: Tags of each.
    """
    i_opens = b_opens = ends = False
    entities = others = 0
    for tags in sentences:
        before = OUTSIDE
        for tag in tags:
            if tag != OUTSIDE and not _ENTITY.fullmatch(tag):
                others += 1
                before = OUTSIDE
                continue
            entities += tag != OUTSIDE
            ends = ends or tag[:2] in ("E-", "S-")
            follows = before != OUTSIDE and before[2:] == tag[2:]
            i_opens = i_opens or (tag.startswith("I-") and not follows)
            b_opens = b_opens or (tag.startswith("B-") and not follows)
            before = tag
    if others > entities:
        return "none"
    if ends:
        return "bioes"
    return "iob1" if i_opens and not b_opens else "bio"


def read_tags(tags: Sequence[str], scheme: str) -> tuple[str, ...]:
    """Checks the tags of a sentence.

    Args:
        tags: One per word.
        scheme: One of TAG_SCHEMES but "auto".

    Returns:
        The tags; those of IOB1 as BIO.

    Raises:
        BadRecord: A tag cannot follow the one before; `word` is its number.
    """
    if scheme == "none":
        return tuple(tags)
    if scheme == "iob1":
        return _from_iob1(tags)
    allowed = _BIOES if scheme == "bioes" else _BIO
    before = OUTSIDE
    for number, tag in enumerate([*tags, OUTSIDE]):
        kind, same = tag[:1], tag[2:] == before[2:]
        if number < len(tags):
            _check_form(tag, allowed, number)
        follows = allowed[before[:1]]
        if kind not in follows or (kind in "IE" and not same):
            if number == len(tags):
                raise _bad(number - 1, f"the tag {before!r} ends the sentence")
            raise _bad(number, f"the tag {tag!r} cannot follow {before!r}")
        before = tag
    return tuple(tags)


# What may follow a tag, by their first letters.
_BIO = {"O": "OB", "B": "OBI", "I": "OBI"}
_BIOES = {"O": "OBS", "B": "IE", "I": "IE", "E": "OBS", "S": "OBS"}


def _from_iob1(tags: Sequence[str]) -> tuple[str, ...]:
    """Returns IOB1 as BIO."""
    found = []
    before = OUTSIDE
    for number, tag in enumerate(tags):
        _check_form(tag, _BIO, number)
        follows = before != OUTSIDE and before[2:] == tag[2:]
        if tag.startswith("B-") and not follows:
            raise _bad(number, f"the tag {tag!r} opens an entity in IOB1")
        opens = tag.startswith("I-") and not follows
        found.append("B-" + tag[2:] if opens else tag)
        before = tag
    return tuple(found)


def _check_form(tag: str, allowed: dict[str, str], number: int) -> None:
    """Raises BadRecord for a tag that is not in the scheme at all."""
    if tag != OUTSIDE and (not _ENTITY.fullmatch(tag) or tag[0] not in allowed):
        raise _bad(number, f"the tag {tag!r} is not one of the scheme")


def _bad(number: int, reason: str) -> BadRecord:
    error = BadRecord(f"word {number + 1}: {reason}")
    error.word = number
    return error
