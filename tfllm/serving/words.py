"""The words of texts, in the graph; by the rule of `data.word_spans`."""

import functools
import sys
import unicodedata
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.data.labelled.records.word_spans import word_spans

_LETTER, _ALONE, _JOINER, _OTHER = range(4)


class Words(NamedTuple):
    """Where words stand, in bytes.

    Attributes:
        starts: int64 ragged [B, (words)].
        ends: int64 ragged [B, (words)].
    """

    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


def split(text: tf.Tensor) -> Words:
    """Splits texts, string [B], into words."""
    # The op ends a text at U+0000, which is in no word.
    text = tf.strings.regex_replace(text, r"\x00", "\x01")
    words = pattern()
    _, starts, ends = tf_text.regex_split_with_offsets(
        text, f"(?s){words}|.", keep_delim_regex_pattern=f"(?s){words}"
    )
    return Words(tf.cast(starts, tf.int64), tf.cast(ends, tf.int64))


@functools.cache
def pattern() -> str:
    """Returns the pattern of a word, for RE2.

    The characters are listed: RE2 and Python may know different versions of
    Unicode.
    """
    kinds = [_kind(code) for code in range(sys.maxunicode + 1)]
    letter, alone, joiner = (
        _character_class(kinds, kind) for kind in (_LETTER, _ALONE, _JOINER)
    )
    return f"(?:{letter}(?:{joiner}*{letter})*|{alone})"


def _kind(code: int) -> int:
    """Returns what a character is for `word_spans`."""
    character = chr(code)
    if not word_spans(character):
        is_joiner = unicodedata.category(character) == "Cf"
        return _JOINER if is_joiner else _OTHER
    # Two of those that are words by themselves are two words.
    return _LETTER if len(word_spans(2 * character)) == 1 else _ALONE


def _character_class(kinds: list[int], kind: int) -> str:
    """Returns the characters of a kind as a class of RE2."""
    parts = []
    start = None
    for code, one in enumerate([*kinds, None]):
        if one == kind and start is None:
            start = code
        elif one != kind and start is not None:
            parts.append(f"\\x{{{start:x}}}-\\x{{{code - 1:x}}}")
            start = None
    return f"[{''.join(parts)}]"
