"""What the published BERT tokenizer does to each character.

Text is cleaned (control characters, private use, U+0000 and U+FFFD dropped,
white space made U+0020), ideographs set apart, accents stripped (canonical
decomposition, then the nonspacing marks dropped), lower-cased, and split at
white space and punctuation. Every step treats one character at a time, so
their composition is one map.

The tables are recorded from the `tokenizers` package, not taken from
`unicodedata`: they must not change with the Python version.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator

from tfllm.tokenizers import bert_character_tables as tables

_HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)


def _ranges(table: str) -> Iterator[range]:
    for entry in table.split():
        first, _, last = entry.partition("-")
        yield range(int(first, 16), int(last or first, 16) + 1)


@functools.cache
def _chars(table: str) -> frozenset[str]:
    return frozenset(chr(code) for span in _ranges(table) for code in span)


def dropped() -> frozenset[str]:
    """Returns the characters that vanish when text is cleaned."""
    return _chars(tables.DROPPED)


def spaces() -> frozenset[str]:
    """Returns the characters that separate words and then vanish."""
    return _chars(tables.SPACES)


def ideographs() -> frozenset[str]:
    """Returns the characters that stand alone as Chinese characters."""
    return _chars(tables.IDEOGRAPHS)


def punctuation() -> frozenset[str]:
    """Returns the characters that stand alone as punctuation."""
    return _chars(tables.PUNCTUATION)


def split_by_tf_text() -> frozenset[str]:
    """Returns the characters that only `FastWordpieceTokenizer` isolates."""
    return _chars(tables.SPLIT_BY_TF_TEXT)


def joined_by_tf_text() -> frozenset[str]:
    """Returns the characters that `FastWordpieceTokenizer` fails to isolate."""
    return _chars(tables.JOINED_BY_TF_TEXT)


@functools.cache
def lowercase() -> dict[str, str]:
    """Returns the lower-case form of the characters that have one."""
    result = {}
    for entry in tables.LOWERCASE.split():
        span, _, rest = entry.partition("/")
        step, _, offsets = rest.partition(":")
        (codes,) = _ranges(span)
        shifts = [int(offset, 16) for offset in offsets.split(",")]
        for code in codes[:: int(step)]:
            result[chr(code)] = "".join(chr(code + s) for s in shifts)
    return result


@functools.cache
def strip_accents() -> dict[str, str]:
    """Returns what is left of the characters that lose or shed a mark.

    Canonical decompositions never change once a character has one, so they
    can come from `unicodedata`; which characters have one, and which marks
    are dropped, follows the recorded tables.
    """
    marks = _chars(tables.MARKS)
    result = dict.fromkeys(marks, "")
    spans = [*_ranges(tables.DECOMPOSED), _HANGUL_SYLLABLES]
    for char in (chr(code) for span in spans for code in span):
        decomposed = unicodedata.normalize("NFD", char)
        result[char] = "".join(c for c in decomposed if c not in marks)
    return result


def normalization(lower: bool, strip: bool) -> dict[str, str]:
    """Composes the steps that rewrite characters.

    Args:
        lower: Whether to lower-case.
        strip: Whether to strip accents.

    Returns:
        The text that replaces each character; characters that stay, and the
        white space that `FastWordpieceTokenizer` splits at by itself, are
        absent.
    """
    result = dict.fromkeys(dropped(), "")
    stripped = strip_accents() if strip else {}
    lowered = lowercase() if lower else {}
    for char in stripped.keys() | lowered.keys():
        if char not in result:
            text = stripped.get(char, char)
            result[char] = "".join(lowered.get(c, c) for c in text)
    return result
