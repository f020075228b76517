"""A byte-level BPE vocabulary as a SentencePiece model.

The SentencePiece op merges the pair of neighbours whose joined spelling is the
piece of highest score. With the score of each piece the negative rank of its
merge, that is byte-pair encoding, provided that

* every merge makes another token, and
* every token, encoded alone, comes out as itself.

Then two neighbours that spell a token are always the two that its merge joins:
inside the bytes of a token, merges happen in the order in which they happen in
the token alone. `check` makes sure of both.

Reference: Sennrich et al., 2016, section 3.2; Radford et al., 2019, section
2.2 (bytes instead of characters).
"""

import struct
from collections.abc import Iterable, Sequence

Merge = tuple[str, str]

# Fields and values of sentencepiece_model.proto.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3
_UNKNOWN, _CONTROL = 2, 3
_MODEL_TYPE, _BPE = 3, 2
_NAME, _DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPE_SPACES = 1, 3, 4, 5
_UNKNOWN_PIECE = "<unk>"


def byte_symbols() -> list[str]:
    """Returns the printable character that stands for each byte.

    Printable bytes of Latin-1 stand for themselves, the others get the
    characters from U+0100 on, in order.

    Reference: Radford et al., 2019; the map is in the published code.
    """
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    symbols = {byte: chr(byte) for byte in kept}
    symbols |= {byte: chr(0x100 + i) for i, byte in enumerate(others)}
    return [symbols[byte] for byte in range(256)]


def check(vocab: Sequence[str], merges: Sequence[Merge], source: str) -> None:
    """Raises ValueError if the construction cannot hold a vocabulary.

    Args:
        vocab: Tokens in the order of their ids.
        merges: In the order of their ranks.
        source: Where they come from, for messages.
    """
    known = set(vocab)
    missing = [b for b, s in enumerate(byte_symbols()) if s not in known]
    if missing:
        raise ValueError(
            f"{source} must have a token for each of the 256 bytes. Received: "
            f"none for {len(missing)} of them, the first 0x{missing[0]:02x}. "
            "Is this a byte-level vocabulary?"
        )
    made: dict[str, int] = {}
    for number, (left, right) in enumerate(merges, 1):
        token = left + right
        for part in (left, right, token):
            if part not in known:
                raise ValueError(
                    f"merges of {source} must join tokens into tokens. "
                    f"Received: merge {number}, {left!r} and {right!r}, but "
                    f"{part!r} is not in the vocabulary."
                )
        if token in made:
            raise ValueError(
                f"merges of {source} must each make another token: the op "
                "in the graph tells merges by what they make. Received: "
                f"merges {made[token]} and {number}, which both make "
                f"{token!r}."
            )
        made[token] = number
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    for (left, right), number in zip(merges, made.values(), strict=True):
        pieces = _encode(left + right, ranks)
        if len(pieces) > 1:
            raise ValueError(
                f"every token of {source} must come out of its own text. "
                f"Received: {left + right!r}, of merge {number}, which is "
                f"read as {pieces}; in the graph it would be one token."
            )


def _encode(text: str, ranks: dict[Merge, int]) -> list[str]:
    """Merges the characters of a text, lowest rank and leftmost first."""
    pieces = list(text)
    none = len(ranks)
    while len(pieces) > 1:
        found = [
            ranks.get(pair, none)
            for pair in zip(pieces, pieces[1:], strict=False)
        ]
        best = min(found)
        if best == none:
            break
        place = found.index(best)
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
    return pieces


def build(vocab: Sequence[str], merges: Sequence[Merge]) -> bytes:
    """Returns the serialized SentencePiece model.

    Args:
        vocab: Tokens in the order of their ids. One that is neither a byte
            nor made by a merge never comes out of text.
        merges: In the order of their ranks.

    Returns:
        A ModelProto whose ids are those of `vocab`, and one more for an
        unknown piece that no text gives.
    """
    scores = {symbol: -1.0 - len(merges) for symbol in byte_symbols()}
    for rank, (left, right) in enumerate(merges):
        scores[left + right] = -float(rank)
    unknown = _UNKNOWN_PIECE
    while unknown in set(vocab):
        unknown = f"<{unknown}>"
    pieces = [
        _piece(token, scores[token])
        if token in scores
        else _piece(token, 0.0, _CONTROL)
        for token in vocab
    ]
    pieces.append(_piece(unknown, 0.0, _UNKNOWN))
    normalizer = _text(_NAME, "identity") + b"".join(
        _number(field, 0)
        for field in (_DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPE_SPACES)
    )
    return b"".join(
        [
            *(_message(_PIECES, piece) for piece in pieces),
            _message(_TRAINER, _number(_MODEL_TYPE, _BPE)),
            _message(_NORMALIZER, normalizer),
        ]
    )


def _piece(text: str, score: float, kind: int = 0) -> bytes:
    content = _text(_PIECE, text)
    content += _tag(_SCORE, 5) + struct.pack("<f", score)
    return content + (_number(_TYPE, kind) if kind else b"")


def _varint(value: int) -> bytes:
    found = []
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _number(field: int, value: int) -> bytes:
    return _tag(field, 0) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode("utf-8"))


def token_bytes(vocab: Iterable[str]) -> list[bytes]:
    """Returns the bytes that each token stands for.

    A token with a character that stands for no byte, as a special one may
    have, is its own UTF-8.
    """
    values = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    return [
        bytes(values[c] for c in token)
        if all(c in values for c in token)
        else token.encode("utf-8")
        for token in vocab
    ]
