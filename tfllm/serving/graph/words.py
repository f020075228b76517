"""Splits texts into words, in the graph, by the rule of `word_spans`."""

import functools
import sys
import unicodedata
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.data.labelled.records.word_spans import word_spans

_LETTER, _ALONE, _JOINER, _OTHER = range(4)


class Words(NamedTuple):
    """Positions of words, in bytes.

    Attributes:
        starts: int64 ragged [B, (words)], first byte of each word.
        ends: int64 ragged [B, (words)], byte after its last.
    """

    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


def split(text: tf.Tensor) -> Words:
    """Splits texts, string [B], into words."""
    # The op would end a text at U+0000, which no word contains.
    text = tf.strings.regex_replace(text, r"\x00", "\x01")
    words = pattern()
    _, starts, ends = tf_text.regex_split_with_offsets(
        text, f"(?s){words}|.", keep_delim_regex_pattern=f"(?s){words}"
    )
    return Words(tf.cast(starts, tf.int64), tf.cast(ends, tf.int64))


@functools.cache
def pattern() -> str:
    """Returns the RE2 pattern of a word.

    It lists the characters: RE2 and Python may have different versions of
    Unicode.
    """
    kinds = [_kind(code) for code in range(sys.maxunicode + 1)]
    letter, alone, joiner = (
        _character_class(kinds, kind) for kind in (_LETTER, _ALONE, _JOINER)
    )
    return f"(?:{letter}(?:{joiner}*{letter})*|{alone})"


def _kind(code: int) -> int:
    """Returns the kind of a character for `word_spans`."""
    character = chr(code)
    category = unicodedata.category(character)
    # Seven of eight code points: without a character, or for control.
    if category[0] == "C" or not word_spans(character):
        return _JOINER if category == "Cf" else _OTHER
    # A character that is a word by itself makes two words if doubled.
    return _LETTER if len(word_spans(2 * character)) == 1 else _ALONE


def _character_class(kinds: list[int], kind: int) -> str:
    """Returns the characters of a kind as an RE2 character class."""
    parts = []
    start = None
    for code, code_kind in enumerate([*kinds, None]):
        if code_kind == kind and start is None:
            start = code
        elif code_kind != kind and start is not None:
            parts.append(f"\\x{{{start:x}}}-\\x{{{code - 1:x}}}")
            start = None
    return f"[{''.join(parts)}]"
