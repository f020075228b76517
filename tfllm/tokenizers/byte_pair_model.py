"""A byte-level BPE vocabulary as a SentencePiece model.

The SentencePiece op merges the pair of neighbours whose joined spelling is the
piece of highest score. With the score of each piece the negative rank of its
merge, that is byte-pair encoding, provided that

* the merges that make one token follow each other, and
* every token, encoded alone, comes out as itself, or all its splits into two
  tokens are merges.

Two neighbours that spell a token are then always a pair that a merge joins:
inside the bytes of a token, merges happen in the order in which they happen in
the token alone. `check` makes sure of both.

Reference: Sennrich et al., 2016, section 3.2; Radford et al., 2019, section
2.2 (bytes instead of characters).
"""

from collections.abc import Iterable, Sequence

from tfllm.tokenizers import sentence_piece_model

Merge = tuple[str, str]

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


def missing_bytes(vocab: Sequence[str]) -> list[int]:
    """Returns the bytes without a token; texts lose them.

    Trainers may leave out bytes that their texts did not have.
    """
    known = set(vocab)
    return [b for b, s in enumerate(byte_symbols()) if s not in known]


def check(vocab: Sequence[str], merges: Sequence[Merge], source: str) -> None:
    """Raises ValueError if the construction cannot hold a vocabulary.

    Args:
        vocab: Tokens in the order of their ids.
        merges: In the order of their ranks.
        source: Where they come from, for messages.
    """
    missing = [b for b in missing_bytes(vocab) if 0x20 <= b < 0x7F]
    if missing:
        raise ValueError(
            f"{source} must have a token for each byte of ASCII that prints. "
            f"Received: none for {len(missing)} of them, the first "
            f"0x{missing[0]:02x}. Is this a byte-level vocabulary?"
        )
    check_merges(vocab, merges, byte_symbols(), source)


def check_merges(
    vocab: Sequence[str],
    merges: Sequence[Merge],
    symbols: Sequence[str],
    source: str,
    opening: Sequence[Merge] = (),
) -> None:
    """Raises ValueError if the construction cannot hold the merges.

    Args:
        vocab: Tokens in the order of their ids.
        merges: In the order of their ranks.
        symbols: Tokens that no merge makes.
        source: Where they come from, for messages.
        opening: Merges before all others, which make some of the symbols.
    """
    known = set(vocab)
    made: dict[str, list[int]] = {}
    for number, (left, right) in enumerate(merges, 1):
        token = left + right
        for part in (left, right, token):
            if part not in known:
                raise ValueError(
                    f"merges of {source} must join tokens into tokens. "
                    f"Received: merge {number}, {left!r} and {right!r}, but "
                    f"{part!r} is not in the vocabulary."
                )
        numbers = made.setdefault(token, [])
        if numbers and numbers[-1] != number - 1:
            raise ValueError(
                f"merges of {source} that make one token must follow each "
                "other: the op in the graph tells merges by what they make. "
                f"Received: merges {numbers[-1]} and {number}, which both "
                f"make {token!r}."
            )
        numbers.append(number)
    ranks = {merge: i for i, merge in enumerate([*opening, *merges])}
    parts = {*symbols, *made}
    for token, numbers in made.items():
        pieces = _encode(token, ranks)
        if len(pieces) > 1 and not _has_all_splits(token, parts, ranks):
            raise ValueError(
                f"every token of {source} must come out of its own text. "
                f"Received: {token!r}, of merge {numbers[0]}, which is "
                f"read as {pieces}; in the graph it would be one token."
            )


def _has_all_splits(
    token: str, parts: set[str], ranks: dict[Merge, int]
) -> bool:
    """Whether every split of a token into two tokens is a merge."""
    splits = ((token[:i], token[i:]) for i in range(1, len(token)))
    return all(
        split in ranks
        for split in splits
        if split[0] in parts and split[1] in parts
    )


def whole_words(vocab: Sequence[str], merges: Sequence[Merge]) -> list[str]:
    """Returns the tokens that merging the bytes of their text does not give.

    With `ignore_merges`, a word that is one of them is one token.
    """
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    symbols = set(byte_symbols())
    return [
        token
        for token in vocab
        if symbols.issuperset(token) and len(_encode(token, ranks)) > 1
    ]


def _encode(text: str, ranks: dict[Merge, int]) -> list[str]:
    """Merges the characters of a text, lowest rank and leftmost first."""
    pieces = list(text)
    none = len(ranks)
    while len(pieces) > 1:
        pair_ranks = [
            ranks.get(pair, none)
            for pair in zip(pieces, pieces[1:], strict=False)
        ]
        best = min(pair_ranks)
        if best == none:
            break
        place = pair_ranks.index(best)
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
    return pieces


def build(vocab: Sequence[str], merges: Sequence[Merge]) -> bytes:
    """Returns the serialized SentencePiece model.

    Args:
        vocab: Tokens in the order of their ids. A token that is neither a
            byte nor made by a merge never comes out of a text.
        merges: In the order of their ranks.

    Returns:
        A ModelProto with the ids of `vocab` and one more, for the unknown
        piece that the op needs and never returns.
    """
    scores = {symbol: -1.0 - len(merges) for symbol in byte_symbols()}
    for rank, (left, right) in enumerate(merges):
        scores.setdefault(left + right, -float(rank))
    unknown = _UNKNOWN_PIECE
    while unknown in set(vocab):
        unknown = f"<{unknown}>"
    model = sentence_piece_model.empty("BPE")
    sentence_piece_model.add_pieces(
        model,
        [*((token, scores.get(token, 0.0)) for token in vocab), (unknown, 0.0)],
        [
            *("NORMAL" if token in scores else "CONTROL" for token in vocab),
            "UNKNOWN",
        ],
    )
    return model.SerializeToString(deterministic=True)


def token_bytes(vocab: Iterable[str]) -> list[bytes]:
    """Returns the bytes that each token stands for.

    A token with a character that stands for no byte, such as a special token,
    is encoded as UTF-8.
    """
    byte_of = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    return [
        bytes(byte_of[c] for c in token)
        if all(c in byte_of for c in token)
        else token.encode("utf-8")
        for token in vocab
    ]
