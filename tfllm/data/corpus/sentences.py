"""Splits cleaned text into sentences by rules, for scripts with end marks.

The rules are few and fast (tens of MB/s of English on one core): BERT's
objectives need sentence-like pieces, not perfect sentences.
"""

import re

# Words whose full stop does not end a sentence. Abbreviations that are also
# words ("sat", "sun", "max", "no") are left out on purpose.
_ABBREVIATION_WORDS = (
    "mr mrs ms messrs dr prof rev hon st mt ft gen col capt lt sgt cmdr adm"
    " gov sen rep pres supt mme mlle monsig fr e.g i.e etc cf vs viz approx"
    " resp eq eqs eqn fig figs sec sect chap vol vols nos pp eds jr sr corp"
    " ltd dept univ inst ave blvd jan feb apr aug sep sept oct nov dec tues"
    " thurs a.m p.m u.s u.k u.n ph.d b.c a.d w.r.t i.i.d esp incl excl"
)
_ABBREVIATIONS = frozenset(_ABBREVIATION_WORDS.split())
# Words whose full stop does not end a sentence before a number ("No. 5").
_NUMBERED_WORDS = (
    "no nos fig figs eq eqs eqn sec sect ch chap vol vols p pp art ref refs"
    " tab app"
)
_BEFORE_NUMBER = frozenset(_NUMBERED_WORDS.split())

_CLOSERS = "\"'”’»)\\]}›」』）】〉》"
_OPENERS = "\"'“‘«(\\[{‹¿¡「『（【〈《*_`-—"
# End marks, closing quotes, then white space; or wide (CJK) marks, which need
# no white space.
_END = re.compile(
    rf"(?P<marks>[.!?…‽؟۔।॥]+)(?P<close>[{_CLOSERS}]*)\s+"
    rf"|(?P<wide>[。！？｡]+…*[{_CLOSERS}]*)\s*"
)
_LAST_WORD = re.compile(r"[^\s(\[{\"“‘«]+$")
_INITIAL = re.compile(r"[^\W\d_](\.[^\W\d_])*$")
_CJK = "\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
_CJK_BREAK = re.compile(rf"(?<=[{_CJK}])\n(?=[{_CJK}])")
_LIST_ITEM = re.compile(r"\s*(?:[-*•–—+]|\(?\d{1,3}[.)]|\(?[a-zA-Z]\))\s")

# Longer lines are paragraphs, not wrapped prose.
_WRAP_WIDTH = 120


def _next_letter(text: str, position: int) -> str:
    """Returns the next character after opening marks, or ""."""
    end = min(len(text), position + 8)
    while position < end and text[position] in _OPENERS:
        position += 1
    return text[position] if position < end else ""


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Returns whether end marks followed by white space end a sentence."""
    marks, close = match["marks"], match["close"]
    following = _next_letter(text, match.end())
    if following.islower():
        # "Really?" he said. / "... waiting for more" / "e.g. this"
        return False
    if marks != ".":
        # An ellipsis before a capital or digit ends the sentence.
        return True
    start = max(0, match.start() - 40)
    last = _LAST_WORD.search(text[start : match.start()])
    word = last.group().lower() if last else ""
    if close:
        # "(et al.) Then": the bracket closes the abbreviation.
        return True
    if word in _BEFORE_NUMBER and following.isdigit():
        return False
    if word in _ABBREVIATIONS:
        return False
    # Initials: "J. R. R. Tolkien"; the pronoun I ends a sentence ("... and I.")
    return not (
        _INITIAL.match(word)
        and word != "i"
        and following.isalpha()
        and text[match.start() - 1].isupper()
    )


def split_sentences(text: str) -> list[str]:
    """Splits one paragraph into sentences.

    Full stops after abbreviations and initials, inside numbers, and before
    lower-case words do not split. Closing quotes and brackets stay with their
    sentence. CJK marks split without white space.

    Args:
        text: A paragraph; line ends and other white space count as spaces.

    Returns:
        The sentences in order, with single spaces and none of them empty.
        Joined by spaces they are the paragraph, except for the spaces added
        after CJK marks.
    """
    text = " ".join(text.split())
    sentences = []
    start = 0
    for match in _END.finditer(text + " "):
        if match["wide"] is None and not _ends_sentence(text, match):
            continue
        end = match.end("wide") if match["wide"] else match.end("close")
        sentence = text[start:end].strip()
        if sentence:
            sentences.append(sentence)
        start = end
    rest = text[start:].strip()
    if rest:
        sentences.append(rest)
    return sentences


def _segments(paragraph: str) -> list[str]:
    """Returns the lines of a paragraph, with wrapped prose joined."""
    lines = paragraph.split("\n")
    if len(lines) == 1 or max(map(len, lines)) > _WRAP_WIDTH:
        return lines
    segments: list[list[str]] = [[]]
    for line in lines:
        if segments[-1] and _LIST_ITEM.match(line):
            segments.append([])
        segments[-1].append(line)
    return ["\n".join(segment) for segment in segments]


def document_sentences(text: str) -> list[str]:
    """Splits a document into sentences, one per line of the corpus.

    Blank lines separate paragraphs. The short lines of a paragraph are
    wrapped prose, and are joined first; if a line is longer than 120
    characters, every line is a paragraph. A list item starts a new piece.

    Args:
        text: A cleaned document.

    Returns:
        Its sentences, none empty and none with a line end.
    """
    sentences: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        for segment in _segments(paragraph):
            # Chinese and Japanese put no space between wrapped lines.
            joined = _CJK_BREAK.sub("", segment)
            sentences.extend(split_sentences(joined))
    return sentences
