"""A BPE vocabulary of whole words as a SentencePiece model.

The last character of a word is another symbol than the same character inside:
"e</w>" and "e". In the model, a character that no text has, `END`, follows
each word, and joins the character before it first of all.

The unknown token stands for each character that the vocabulary lacks. The op
would make one token of a run of them, so they are put in the place of
characters that no text has, one for each width in UTF-8: places in bytes stay.

Reference: Sennrich et al., 2016, section 3.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfllm.tokenizers import (
    bert_characters,
    byte_pair_model,
    sentence_piece_model,
)
from tfllm.tokenizers.byte_pair_model import Merge

SUFFIX = "</w>"
# All of these are dropped from texts before.
END = "\ue001"
_ABSENT = ("\x01", "\x80", "\ue000", "\U000f0000")
_WIDTHS = ((1, 0x7F), (0x80, 0x7FF), (0x800, 0xFFFF), (0x10000, 0x10FFFF))
_UNKNOWN_PIECE = "<<unknown>>"


@dataclasses.dataclass(frozen=True)
class WordPieces:
    """A vocabulary for the SentencePiece op.

    Attributes:
        model: The serialized ModelProto.
        ids: Id in the vocabulary of each piece; -1 for a space.
        lengths: Bytes of each piece in a normalized text.
        absent: Pattern of the characters that the vocabulary lacks, and what
            is put in their place, for each width in UTF-8.
    """

    model: bytes
    ids: tuple[int, ...]
    lengths: tuple[int, ...]
    absent: tuple[tuple[str, str], ...]


def name_of(token: str) -> str:
    """Returns a token as the model spells it: with `END` for "</w>"."""
    if token.endswith(SUFFIX) and token != SUFFIX:
        return token.removesuffix(SUFFIX) + END
    return token


def token_text(token: str) -> str:
    """Returns what a token adds to a text: with a space for "</w>"."""
    return name_of(token).replace(END, " ")


def build(
    vocab: Sequence[str], merges: Sequence[Merge], unk: int, source: str
) -> WordPieces:
    """Returns the pieces of a vocabulary.

    Args:
        vocab: Tokens in the order of their ids.
        merges: In the order of their ranks.
        unk: Id of the unknown token.
        source: Where they come from, for messages.

    Raises:
        ValueError: The construction cannot hold the vocabulary; see
            `byte_pair_model.check_merges`.
    """
    lost = bert_characters.dropped() | bert_characters.spaces()
    names = [name_of(token) for token in vocab]
    bodies = [name.removesuffix(END) for name in names]
    alphabet = sorted({b for b in bodies if len(b) == 1 and b not in lost})
    opening = [(char, END) for char in (*alphabet, *_ABSENT)]
    ends = {char + END for char, _ in opening}
    symbols = {*alphabet, *ends}
    pairs = [(name_of(left), name_of(right)) for left, right in merges]
    byte_pair_model.check_merges(names, pairs, sorted(symbols), source, opening)
    scores = dict.fromkeys(ends, 1.0)
    for rank, (left, right) in enumerate(pairs):
        scores.setdefault(left + right, -float(rank))
    # A special token is no spelling.
    places = {name: i for i, name in enumerate(names) if i != unk}
    extra = [*(symbols - places.keys()), *_ABSENT]
    model = sentence_piece_model.empty("BPE")
    sentence_piece_model.add_pieces(
        model,
        [
            *((name, scores.get(name, -1.0 - len(pairs))) for name in names),
            *((name, scores.get(name, 0.0)) for name in sorted(extra)),
            (" ", 0.0),
            (_UNKNOWN_PIECE, 0.0),
        ],
        [
            *(
                "NORMAL" if name in scores or name in symbols else "CONTROL"
                for name in names
            ),
            *("NORMAL" for _ in extra),
            "NORMAL",
            "UNKNOWN",
        ],
    )
    pieces = [*names, *sorted(extra), " "]
    lengths = [len(piece.replace(END, "").encode()) for piece in pieces]
    ids = [*range(len(names)), *(unk for _ in extra), -1]
    return WordPieces(
        model.SerializeToString(deterministic=True),
        (*ids, unk),
        (*lengths, 1),
        tuple(
            (_outside(alphabet, first, last), absent)
            for (first, last), absent in zip(_WIDTHS, _ABSENT, strict=True)
        ),
    )


def _outside(alphabet: Sequence[str], first: int, last: int) -> str:
    """Returns a pattern of RE2 for the other characters of a range."""
    known = sorted({ord(" "), *map(ord, alphabet)})
    edges = [code for code in known if first <= code <= last]
    starts = [first, *(code + 1 for code in edges)]
    stops = [*(code - 1 for code in edges), last]
    spans = [
        rf"\x{{{a:x}}}-\x{{{b:x}}}"
        for a, b in zip(starts, stops, strict=True)
        if a <= b
    ]
    return f"[{''.join(spans)}]"
