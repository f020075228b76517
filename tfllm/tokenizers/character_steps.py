"""The steps that a normalizer of tokenizer.json takes, as data.

`character_normalizer` takes them in the graph.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
import unicodedata
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np

from tfllm.tokenizers import bert_characters, character_tables

# Pattern of `TrimMarks`, with which `sentencepiece` removes extra spaces.
ENDS = "\\A +|[ \u2581]+\\z"
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
# Steps that change each character by itself.
CharacterRule = Literal["NFKD", "StripAccents", "Lowercase"]


@dataclasses.dataclass(frozen=True)
class CharacterMap:
    """Replaces characters one by one.

    Attributes:
        rules: Applied in this order; "NFKD" needs a "StripAccents" behind it,
            which drops the marks whose order it would change.
    """

    rules: tuple[CharacterRule, ...]


@dataclasses.dataclass(frozen=True)
class Precompiled:
    """Replaces characters by SentencePiece's map, as `tokenizers` does.

    Attributes:
        charsmap: The map, as in a model.
    """

    charsmap: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class ReplaceText:
    """Replaces a text that does not overlap itself, or one character's run.

    Attributes:
        pattern: The text.
        content: What stands in its place.
    """

    pattern: str
    content: str


@dataclasses.dataclass(frozen=True)
class ReplaceSpaces:
    """Replaces two or more spaces.

    Attributes:
        content: What stands in their place.
    """

    content: str


@dataclasses.dataclass(frozen=True)
class StripSpaces:
    """Strips leading and trailing whitespace.

    Attributes:
        left: Strip leading whitespace.
        right: Strip trailing whitespace.
    """

    left: bool
    right: bool


@dataclasses.dataclass(frozen=True)
class Prepend:
    """Puts a text before one that is not empty.

    Attributes:
        content: The text, of one character.
    """

    content: str


@dataclasses.dataclass(frozen=True)
class JoinWords:
    """Splits a text at white space and begins each word but the first by "▁".

    A word that begins with "▁" gets no other one.
    """


@dataclasses.dataclass(frozen=True)
class TrimMarks:
    """Removes spaces from the beginning, and spaces and "▁" from the end."""


Step: TypeAlias = (
    CharacterMap
    | Precompiled
    | ReplaceText
    | ReplaceSpaces
    | StripSpaces
    | Prepend
    | JoinWords
    | TrimMarks
)


@functools.lru_cache(maxsize=8)
def character_table(rules: tuple[CharacterRule, ...]) -> dict[str, str]:
    """Returns what replaces each character that rules change."""
    tables = [_rule_table(rule) for rule in rules]
    changed = {}
    for char in {char for table in tables for char in table}:
        text = char
        for table in tables:
            text = "".join(table.get(c, c) for c in text)
        changed[char] = text
    return changed


@functools.cache
def _rule_table(rule: CharacterRule) -> dict[str, str]:
    """Returns what replaces each character that a rule changes."""
    if rule == "Lowercase":
        return bert_characters.lowercase()
    if rule == "StripAccents":
        return dict.fromkeys(_chars(character_tables.MARKS), "")
    return {
        # Decompositions never change once a character has one.
        char: unicodedata.normalize("NFKD", char)
        for char in _chars(character_tables.DECOMPOSED)
    }


def _chars(table: str) -> Iterator[str]:
    for first, last in character_tables.ranges(table):
        yield from map(chr, range(first, last + 1))


@functools.lru_cache(maxsize=8)
def charsmap_table(charsmap: bytes, max_bytes: int) -> dict[str, str]:
    """Returns what replaces each text that a map of SentencePiece has.

    The map is a double array over bytes of UTF-8 whose values are places in
    the texts behind it, each of which ends with a NUL.

    Args:
        charsmap: `precompiled_charsmap` of a model.
        max_bytes: Longer texts are left out.

    Raises:
        ValueError: It is damaged.
    """
    try:
        (size,) = struct.unpack_from("<I", charsmap)
        units = np.frombuffer(charsmap, np.uint32, size // 4, offset=4)
        texts = charsmap[4 + size :]
        return {
            key.decode(): texts[place : texts.index(b"\0", place)].decode()
            for key, place in _entries(units, max_bytes)
        }
    except (struct.error, ValueError, IndexError) as error:
        raise ValueError(
            "`precompiled_charsmap` must be a map of SentencePiece. Received: "
            f"{len(charsmap)} bytes, {error}. Copy the file from the model "
            "again."
        ) from error


def _entries(units: np.ndarray, max_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yields the texts of a double array and their values."""
    units = units.astype(np.int64)
    labels = np.arange(1, 256)
    keys = [b""]
    bases = np.array([_offsets(units[:1])[0]])
    for _ in range(max_bytes):
        # [nodes, 255]
        places = bases[:, None] ^ labels
        inside = places < len(units)
        found = units[np.where(inside, places, 0)]
        matches = inside & (found & 0x800000FF == labels)
        parents, bytes_ = np.nonzero(matches)
        keys = [
            keys[parent] + bytes([byte + 1])
            for parent, byte in zip(
                parents.tolist(), bytes_.tolist(), strict=True
            )
        ]
        found, places = found[matches], places[matches]
        bases = places ^ _offsets(found)
        for number in np.flatnonzero(found >> 8 & 1).tolist():
            value = int(units[bases[number]]) & 0x7FFFFFFF
            yield keys[number], value


def _offsets(units: np.ndarray) -> np.ndarray:
    """Returns the distance of each node to its children."""
    return (units >> 10) << ((units & 0x200) >> 6)
