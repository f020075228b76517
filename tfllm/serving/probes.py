"""Texts that the gate tries an export with."""

from collections.abc import Sequence

# Each of these texts broke a text pipeline somewhere.
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
    """Returns the texts, with masks in each but the first.

    Args:
        seq_length: Longest row in tokens. Texts have lengths up to it, and one
            has 10,000 characters.
        mask: Mask put in the middle and at the end; empty for none.
    """
    long = (_SENTENCE * LONG_CHARACTERS)[:LONG_CHARACTERS]
    plain = [text for text in HARD if text]
    hard = [b"", *(with_mask(text, mask) for text in plain)]
    return [*hard, *by_length(seq_length, mask), with_mask(long, mask)]


def by_length(seq_length: int, mask: bytes = b"") -> list[bytes]:
    """Returns texts of about 4, 8, 16, ... words, up to `seq_length`."""
    words = _SENTENCE.split()
    texts = []
    count = 4
    while count < seq_length:
        repeated = (words * (count // len(words) + 1))[:count]
        texts.append(with_mask(b" ".join(repeated), mask))
        count *= 2
    return texts


def groups(texts: Sequence[bytes], in_pairs: bool) -> list[tuple[bytes, ...]]:
    """Returns texts alone, or each in a pair with a short text."""
    if not in_pairs:
        return [(text,) for text in texts]
    return [
        (text, b"it was") if number % 2 else (b"the worst of", text)
        for number, text in enumerate(texts)
    ]


def batches(texts: Sequence[bytes], limit: int = 400) -> list[list[bytes]]:
    """Returns the short texts in one batch, and each long one alone."""
    short = [text for text in texts if len(text) <= limit]
    return [short, *([text] for text in texts if len(text) > limit)]


def with_mask(text: bytes, mask: bytes) -> bytes:
    """Returns a text with a mask in its middle and at its end."""
    if not mask:
        return text
    words = text.split(b" ")
    middle = len(words) // 2
    return b" ".join([*words[:middle], mask, *words[middle:], mask])
