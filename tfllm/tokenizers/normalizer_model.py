"""Compiles a character map for the `FastBertNormalize` op.

The op rewrites each character by itself, as a table says that is one of its
inputs. The table that `tensorflow_text` builds applies compatibility case
folding, which the published BERT tokenizer does not; this module builds the
table from any map instead, so that the same op, which stock TF Serving links,
follows the published rules at the same speed.

The table is a flatbuffer of a double-array trie over UTF-8 bytes. A node at
position `p` keeps its children in a block with base `b`, the child of byte `c`
at `b ^ c`, and its own value at `b`. Equal subtrees share one block, which
keeps the table small although it names every dropped code point.

Reference: Aoe, 1989, "An efficient digital search algorithm by using a
double-array structure"; darts-clone for the layout of a unit.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import flatbuffers
import numpy as np

_CODE_POINTS = 0x110000
_CHANGED = 0x40000000  # The value names a replacement.
_DROP = _CHANGED  # A replacement of length 0.
_LENGTH_BITS = 6
_VALUE_UNIT = 0x80000000
_HAS_VALUE = 0x100
_REGION = 256  # A block never leaves its aligned region: labels are bytes.

# A block: its own value (0 for none), and (byte, block) for each child.
_Block = tuple[int, tuple[tuple[int, int], ...]]


def build(mapping: Mapping[int, str]) -> bytes:
    """Compiles a character map.

    Bytes that are not valid UTF-8 are dropped: BERT reads them as U+FFFD and
    drops that.

    Args:
        mapping: The text that replaces a code point; code points that are
            absent stay. At most 63 bytes of UTF-8 per text.

    Returns:
        The `model_buffer` of `tensorflow_text.FastBertNormalizer`.

    Raises:
        ValueError: A replacement is too long.
    """
    values, pool = _encode(mapping)
    units = _units(values.tobytes())
    builder = flatbuffers.Builder(4 * len(units) + len(pool) + 256)
    pool_offset = builder.CreateByteVector(pool or b"\0")
    units_offset = builder.CreateNumpyVector(units)
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(3, pool_offset, 0)
    builder.PrependInt32Slot(2, int(values[0]), 0)
    builder.PrependUOffsetTRelativeSlot(1, units_offset, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


# Tokenizers of one kind of text have one map.
@functools.lru_cache(maxsize=2)
def _units(values: bytes) -> np.ndarray:
    """Returns the units of a trie; `values` are int32, one per code point."""
    return _Trie(np.frombuffer(values, np.int32)).units()


def _encode(mapping: Mapping[int, str]) -> tuple[np.ndarray, bytes]:
    """Encodes the replacements as values of the trie and a pool of bytes."""
    values = np.zeros(_CODE_POINTS, np.int32)
    pool = bytearray()
    encoded: dict[str, int] = {"": _DROP}
    for code, text in mapping.items():
        if text not in encoded:
            raw = text.encode("utf-8")
            if len(raw) >> _LENGTH_BITS:
                raise ValueError(
                    "`mapping` must hold replacements of at most 63 bytes. "
                    f"Received: {text!r} for U+{code:04X}. Shorten it."
                )
            place = len(pool) << _LENGTH_BITS
            encoded[text] = _CHANGED | place | len(raw)
            pool += raw
        values[code] = encoded[text]
    return values, bytes(pool)


class _Trie:
    """Double-array trie over the UTF-8 spellings of all code points.

    Args:
        values: int [0x110000]. Value of each code point, 0 for none.
    """

    def __init__(self, values: np.ndarray):
        self._blocks: dict[_Block, int] = {}
        self._root = self._make_root(values)

    def _block(self, value: int, children: list[tuple[int, int]]) -> int:
        key = (value, tuple(children))
        return self._blocks.setdefault(key, len(self._blocks))

    def _level(self, blocks: np.ndarray) -> np.ndarray:
        """Groups 64 blocks under the trail bytes of one parent each.

        The parents are prefixes of characters, dropped when nothing follows.
        """
        unique, numbers = _distinct(blocks.reshape(-1, 64))
        parents = [
            self._block(_DROP, [(0x80 + i, int(b)) for i, b in enumerate(row)])
            for row in unique
        ]
        return np.asarray(parents)[numbers]

    def _last_bytes(self, values: np.ndarray) -> np.ndarray:
        """Returns the block of each run of 64 code points."""
        unique, numbers = _distinct(values.reshape(-1, 64))
        parents = []
        for row in unique:
            children = [
                (0x80 + i, self._block(int(value), []))
                for i, value in enumerate(row)
                if value
            ]
            parents.append(self._block(_DROP, children))
        return np.asarray(parents)[numbers]

    def _make_root(self, values: np.ndarray) -> int:
        two = self._last_bytes(values)
        three = self._level(two)
        # Lead bytes go to F4; the planes past the last one stay empty.
        padded = np.full(5 * 64, self._block(_DROP, []))
        padded[: len(three)] = three
        four = self._level(padded)
        dropped = self._block(_DROP, [])
        children = [
            (byte, self._block(int(values[byte]), []))
            for byte in range(1, 0x80)
            if values[byte]
        ]
        children += [(byte, dropped) for byte in range(0x80, 0xC2)]
        children += [(b, int(two[b & 0x1F])) for b in range(0xC2, 0xE0)]
        children += [(b, int(three[b & 0x0F])) for b in range(0xE0, 0xF0)]
        children += [(b, int(four[b & 0x07])) for b in range(0xF0, 0xF5)]
        children += [(byte, dropped) for byte in range(0xF5, 0x100)]
        return self._block(0, children)

    def units(self) -> np.ndarray:
        """Returns the uint32 units, padded to whole regions."""
        blocks = list(self._blocks)
        bases = _place(blocks)
        size = (max(bases) // _REGION + 1) * _REGION
        units = np.zeros(size, np.uint32)
        units[0] = _unit(0, bases[self._root], False, 0)
        for (value, children), base in zip(blocks, bases, strict=True):
            if value:
                units[base] = _VALUE_UNIT | value
            for byte, child in children:
                place = base ^ byte
                has_value = bool(blocks[child][0])
                units[place] = _unit(place, bases[child], has_value, byte)
        return units


def _distinct(rows: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """Returns the distinct rows, and the number of each row among them.

    NOTE: ten times as fast as `np.unique` with an axis, which sorts the rows.
    """
    known: dict[bytes, int] = {}
    numbers = [known.setdefault(row.tobytes(), len(known)) for row in rows]
    return [np.frombuffer(row, rows.dtype) for row in known], numbers


def _unit(place: int, base: int, has_value: bool, label: int) -> int:
    return (place ^ base) << 10 | (_HAS_VALUE if has_value else 0) | label


def _place(blocks: list[_Block]) -> list[int]:
    """Finds a base of its own for every block so that no two units collide.

    Two blocks with equal bases would read each other's children, so a base is
    used once even where the units would fit.
    """
    bases = [0] * len(blocks)
    free = np.ones(_REGION, bool)
    free[0] = False  # The root's unit.
    unused = np.ones(_REGION, bool)
    unused[0] = False
    first = 0  # Everything before this region is full enough.
    large_first = sorted(range(len(blocks)), key=lambda i: -len(blocks[i][1]))
    for index in large_first:
        value, children = blocks[index]
        labels = np.asarray([0] * bool(value) + [byte for byte, _ in children])
        while True:
            candidates = np.arange(first, len(free))
            places = candidates[:, None] ^ labels[None, :]
            fits = unused[candidates] & free[places].all(axis=1)
            if fits.any():
                break
            first = max(0, len(free) - 2 * _REGION)
            free = np.append(free, np.ones(_REGION, bool))
            unused = np.append(unused, np.ones(_REGION, bool))
        base = int(candidates[fits.argmax()])
        bases[index] = base
        free[base ^ labels] = False
        unused[base] = False
    return bases
