"""Texts that an export is tried with before anyone else sees it."""

from collections.abc import Sequence

# Each of them broke a text pipeline somewhere.
HARD = (
    b"",
    b" \t\n ",
    b"The quick brown fox jumps over the lazy dog.",
    "Ünïcödé, ﬁligree; ＦＵＬＬ ｗｉｄｔｈ, naïve Straße.".encode(),
    "👩‍👩‍👧‍👦 🙂🇩🇪 done".encode(),
    "自然言語処理は楽しい。中文 한국어".encode(),
    "שלום עולם مرحبا بالعالم".encode(),
    b"zero\0byte and\x01control",
    b"\xff\xfe not UTF-8 \xc3( \xe2\x82 \xf0\x9f\x92",
    b"\xed\xa0\x80 a lone surrogate",
    "a\u0301\u0327 zero\u200bwidth \ufeffmark \u2028 line".encode(),
    b"x" * 300,
)
LONG_CHARACTERS = 10_000
_SENTENCE = b"it was the best of times, it was the worst of times; "


def texts(seq_length: int, mask: bytes = b"") -> list[bytes]:
    """Returns the texts, with a mask in each but the first.

    Args:
        seq_length: Tokens of the longest row; there are texts of all widths
            up to it, and one of 10,000 characters.
        mask: Is put in the middle and at the end, unless empty.
    """
    long = (_SENTENCE * LONG_CHARACTERS)[:LONG_CHARACTERS]
    plain = [text for text in HARD if text]
    found = [b"", *(with_mask(text, mask) for text in plain)]
    return [*found, *by_length(seq_length, mask), with_mask(long, mask)]


def by_length(seq_length: int, mask: bytes = b"") -> list[bytes]:
    """Returns texts of about 4, 8, 16, ... words, up to a longest row."""
    words = _SENTENCE.split()
    found = []
    count = 4
    while count < seq_length:
        repeated = (words * (count // len(words) + 1))[:count]
        found.append(with_mask(b" ".join(repeated), mask))
        count *= 2
    return found


def groups(found: Sequence[bytes], in_pairs: bool) -> list[tuple[bytes, ...]]:
    """Returns the texts of each request; of pairs, long and short."""
    if not in_pairs:
        return [(text,) for text in found]
    return [
        (text, b"it was") if number % 2 else (b"the worst of", text)
        for number, text in enumerate(found)
    ]


def batches(found: Sequence[bytes], limit: int = 400) -> list[list[bytes]]:
    """Returns the short texts in one batch, and each long one alone."""
    short = [text for text in found if len(text) <= limit]
    return [short, *([text] for text in found if len(text) > limit)]


def with_mask(text: bytes, mask: bytes) -> bytes:
    """Returns a text with a mask in its middle and at its end."""
    if not mask:
        return text
    words = text.split(b" ")
    middle = len(words) // 2
    return b" ".join([*words[:middle], mask, *words[middle:], mask])
