"""Tag schemes: detects and checks BIO, BIOES and other schemes of entities.

An entity of type X, of three words, of one, and of two that touch, is tagged
    bio:    B-X I-X I-X    B-X    B-X B-X     also called IOB2
    iob1:   I-X I-X I-X    I-X    I-X B-X     B- only after its own type
    ioe2:   I-X I-X E-X    E-X    E-X E-X
    ioe1:   I-X I-X I-X    I-X    E-X I-X     E- only before its own type
    bioes:  B-X I-X E-X    S-X    S-X S-X     also called IOBES
    bilou:  B-X I-X L-X    U-X    U-X U-X
    bmes:   B-X M-X E-X    S-X    S-X S-X
    bmewo:  B-X M-X E-X    W-X    W-X W-X
and all other words O. Spellings are `B-PER`, `B_PER`, `PER-B` and `PER_B`, or
the letter alone if there is one type.

Reference: Ramshaw and Marcus, 1995; Tjong Kim Sang and Veenstra, 1999; Ratinov
and Roth, 2009.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

from tfllm.data.bad_records import BadRecord

OUTSIDE = "O"
_LETTERS = "BIESLUMW"
# Letters with the same meaning as one of BIOES.
_SAME_AS = {"L": "E", "U": "S", "M": "I", "W": "S"}
NO_TYPE = "_"  # as in seqeval


@dataclasses.dataclass(frozen=True)
class Spelling:
    """How a tag is spelled from its letter and the type of the entity.

    Args:
        separator: Separator between letter and type.
        letter_first: Whether the letter comes before the type.
    """

    separator: str = "-"
    letter_first: bool = True

    def parts(self, tag: str) -> tuple[str, str] | None:
        """Returns letter and type of a tag; None in another spelling."""
        if tag == OUTSIDE:
            return OUTSIDE, ""
        if len(tag) == 1:
            return (tag, NO_TYPE) if tag in _LETTERS else None
        if self.letter_first:
            letter, separator, kind = tag.partition(self.separator)
        else:
            kind, separator, letter = tag.rpartition(self.separator)
        is_tag = len(letter) == 1 and letter in _LETTERS and separator and kind
        return (letter, kind) if is_tag else None

    def tag(self, letter: str, kind: str) -> str:
        """Returns the tag of a letter and a type."""
        if kind in ("", NO_TYPE):
            return letter
        parts = (letter, kind) if self.letter_first else (kind, letter)
        return self.separator.join(parts)


# If tags fit several spellings, the first one counts.
SPELLINGS = (
    Spelling(),
    Spelling("_"),
    Spelling("-", letter_first=False),
    Spelling("_", letter_first=False),
)


@dataclasses.dataclass(frozen=True)
class _Rules:
    """Which letters may follow a letter.

    Attributes:
        same: Letters that may follow each letter with the same type.
        other: Letters that may follow each letter with another type, or O.
    """

    same: Mapping[str, str]
    other: Mapping[str, str]

    def allows(self, before: tuple[str, str], after: tuple[str, str]) -> bool:
        """Returns whether a tag, by letter and type, may follow another."""
        letters = self.same if before[1] == after[1] else self.other
        return after[0] in letters.get(before[0], "")

    def renamed(self, **letters: str) -> "_Rules":
        """Returns the same rules with other letters."""
        table = str.maketrans(letters)
        return _Rules(
            *(
                {
                    k.translate(table): v.translate(table)
                    for k, v in part.items()
                }
                for part in (self.same, self.other)
            )
        )


_BIOES = _Rules(
    {"O": "O", "B": "IE", "I": "IE", "E": "BS", "S": "BS"},
    {"O": "BS", "E": "OBS", "S": "OBS"},
)
# If tags fit several schemes equally well, the first one counts.
_SCHEMES = {
    "bio": _Rules(
        {"O": "O", "B": "BI", "I": "BI"}, {"O": "B", "B": "OB", "I": "OB"}
    ),
    "iob1": _Rules(
        {"O": "O", "B": "BI", "I": "BI"}, {"O": "I", "B": "OI", "I": "OI"}
    ),
    "ioe2": _Rules({"O": "O", "I": "IE", "E": "IE"}, {"O": "IE", "E": "OIE"}),
    "ioe1": _Rules({"O": "O", "I": "IE", "E": "IE"}, {"O": "IE", "I": "OIE"}),
    "bioes": _BIOES,
    "bilou": _BIOES.renamed(E="L", S="U"),
    "bmes": _BIOES.renamed(I="M"),
    "bmewo": _BIOES.renamed(I="M", S="W"),
}
NO_SCHEME = "none"
TAG_SCHEMES = ("auto", *_SCHEMES, NO_SCHEME)


@dataclasses.dataclass(frozen=True)
class TagScheme:
    """The scheme of tags, and their spelling.

    Args:
        name: One of TAG_SCHEMES, but not "auto".
        spelling: Spelling of tags; not used for NO_SCHEME.
    """

    name: str
    spelling: Spelling = SPELLINGS[0]

    def __str__(self) -> str:
        """Returns a description of the scheme, for messages."""
        if self.name == NO_SCHEME:
            return "no scheme of entities, so figures are by word"
        return f"the scheme {self.name}"

    def read(self, tags: Sequence[str]) -> tuple[str, ...]:
        """Checks the tags of a sentence.

        Args:
            tags: A tag per word.

        Returns:
            The tags; IOB1 is converted to BIO.

        Raises:
            BadRecord: A tag must not follow the one before; `word` is its
                number.
        """
        if self.name == NO_SCHEME:
            return tuple(tags)
        rules = _SCHEMES[self.name]
        before, parts = (OUTSIDE, ""), []
        for number, tag in enumerate(tags):
            current = self.spelling.parts(tag)
            if current is None or current[0] not in rules.same:
                raise self._bad_tag(number, f"the tag {tag!r} is not in")
            if not rules.allows(before, current):
                last = tags[number - 1] if number else "nothing"
                raise self._bad_tag(
                    number, f"the tag {tag!r} cannot follow {last!r} in"
                )
            parts.append(current)
            before = current
        if not rules.allows(before, (OUTSIDE, "")):
            number = len(tags) - 1
            last = f"the tag {tags[-1]!r} cannot be last in"
            raise self._bad_tag(number, last)
        return tuple(self._as_bio(parts) if self.name == "iob1" else tags)

    def _as_bio(self, parts: Sequence[tuple[str, str]]) -> Iterable[str]:
        """Yields tags of IOB1, by letter and type, as BIO."""
        before = (OUTSIDE, "")
        for letter, kind in parts:
            opens = letter == "I" and before[1] != kind
            yield self.spelling.tag("B" if opens else letter, kind)
            before = (letter, kind)

    def _bad_tag(self, number: int, reason: str) -> BadRecord:
        """Returns the error for the tag of a word."""
        error = BadRecord(
            f"word {number + 1}: {reason} the scheme {self.name} "
            "(--tag_scheme names another)"
        )
        error.word = number
        return error


def find_scheme(
    sentences: Iterable[Sequence[str]], name: str = "auto"
) -> TagScheme:
    """Detects the scheme of tags and their spelling.

    Tags are entity tags if most of them, except O, are spelled as such. The
    scheme is the one with the fewest violations between neighbours, so that
    single mistakes do not change it.

    Args:
        sentences: Tags of each sentence.
        name: One of TAG_SCHEMES; with any but "auto" only the spelling is
            detected.
    """
    counts: collections.Counter[str] = collections.Counter()
    pairs: collections.Counter[tuple[str, str]] = collections.Counter()
    for tags in sentences:
        counts.update(tags)
        pairs.update(zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True))
    spelling = find_spelling(counts)
    if name != "auto":
        return TagScheme(name, spelling or SPELLINGS[0])
    if spelling is None:
        return TagScheme(NO_SCHEME)
    parts = {tag: spelling.parts(tag) or ("", tag) for tag in counts}
    parts[OUTSIDE] = (OUTSIDE, "")
    broken = {
        name: sum(
            count
            for (before, after), count in pairs.items()
            if not rules.allows(parts[before], parts[after])
        )
        for name, rules in _SCHEMES.items()
    }
    return TagScheme(min(broken, key=broken.__getitem__), spelling)


def scheme_of(
    labels: Sequence[str], sentences: Iterable[Sequence[str]]
) -> TagScheme:
    """Returns the tag scheme for the figures of a task.

    Args:
        labels: All label names of the task. Unless all are entity tags, the
            scheme is NO_SCHEME.
        sentences: Gold tags of each text.
    """
    if not are_entity_tags(labels):
        return TagScheme(NO_SCHEME)
    return find_scheme(sentences)


def find_spelling(counts: Mapping[str, int]) -> Spelling | None:
    """Detects the spelling of entity tags; None if most tags are others.

    Args:
        counts: Number of words by tag.
    """
    entities = {tag: n for tag, n in counts.items() if tag != OUTSIDE and n}
    if not entities:
        return SPELLINGS[0]

    def fitting(spelling: Spelling) -> int:
        return sum(n for tag, n in entities.items() if spelling.parts(tag))

    best = max(SPELLINGS, key=fitting)
    parts = [part for tag in entities if (part := best.parts(tag))]
    if 2 * fitting(best) < sum(entities.values()):
        return None
    typed = best == SPELLINGS[0] and any(kind != NO_TYPE for _, kind in parts)
    letters = {letter for letter, _ in parts}
    # Parts of speech such as N, S and V may look like tags by chance.
    return best if typed or _are_of_one_scheme(letters) else None


def _are_of_one_scheme(letters: set[str]) -> bool:
    """Returns whether letters fit one scheme, with B or I among them."""
    return bool(letters & set("BI")) and any(
        letters <= set(rules.same) for rules in _SCHEMES.values()
    )


def are_entity_tags(labels: Sequence[str]) -> bool:
    """Returns whether all label names are entity tags."""
    spelling = find_spelling(collections.Counter(labels))
    return (
        spelling is not None
        and any(label != OUTSIDE for label in labels)
        and all(spelling.parts(label) for label in labels)
    )


@functools.cache
def as_bioes(labels: tuple[str, ...]) -> dict[str, str]:
    """Returns the BIOES form of each tag, such as `B-PER`.

    L becomes E, U and W become S, and M becomes I. Read leniently, as by the
    CoNLL script, tags of all schemes then mean the same. A label that is not
    an entity tag becomes I with the label as its type, so that neighbours
    with one label belong together.

    Args:
        labels: All label names of a task.

    Returns:
        BIOES tag by label.
    """
    spelling = find_spelling(collections.Counter(labels))
    are_tags = are_entity_tags(labels)
    tags = {}
    for label in labels:
        parts = spelling.parts(label) if spelling and are_tags else None
        letter, kind = parts or ("I", label)
        tags[label] = f"{_SAME_AS.get(letter, letter)}-{kind}"
    tags[OUTSIDE] = OUTSIDE
    return tags
