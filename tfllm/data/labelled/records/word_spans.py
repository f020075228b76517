"""Splits raw text into words, for tagging text without given words."""

import unicodedata

# Ideographs, each a word, in the ranges of BERT's tokenizer.
_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def word_spans(text: str) -> tuple[tuple[int, int], ...]:
    """Returns (start, end) characters of each word.

    A word is a run of letters, marks, digits and underscores, a single
    ideograph, or any other single character except spaces and control
    characters. Joiners inside a word belong to it.

    Args:
        text: Any text.
    """
    spans: list[tuple[int, int]] = []
    inside = False
    for place, character in enumerate(text):
        kind = unicodedata.category(character)
        if kind[0] in "LMN" or character == "_":
            alone = _is_ideograph(character)
            if inside and not alone:
                spans[-1] = (spans[-1][0], place + 1)
            else:
                spans.append((place, place + 1))
            inside = not alone
            continue
        if kind == "Cf":  # joiners do not split a word
            continue
        inside = False
        if kind[0] not in "CZ":
            spans.append((place, place + 1))
    return tuple(spans)


def _is_ideograph(character: str) -> bool:
    """Returns whether a character is a Chinese ideograph."""
    code = ord(character)
    return any(first <= code <= last for first, last in _IDEOGRAPHS)
