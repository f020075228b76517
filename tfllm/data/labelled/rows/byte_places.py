"""Converts between byte and character offsets of a text.

Tokenizers count UTF-8 bytes; users see characters.
"""

import numpy as np


def byte_places(text: str) -> np.ndarray:
    """Returns the first byte of each character, and the length in bytes.

    Args:
        text: Any text.

    Returns:
        int64 [len(text) + 1].
    """
    if text.isascii():
        return np.arange(len(text) + 1)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = 1 + (codes >= 0x80) + (codes >= 0x800).astype(np.int64)
    sizes += codes >= 0x10000
    return np.concatenate([[0], np.cumsum(sizes)])


def character_places(text: str, places: np.ndarray) -> np.ndarray:
    """Returns the character to which each byte belongs, int [N].

    Args:
        text: The text.
        places: int [N], byte offsets in it.
    """
    if text.isascii():
        return places
    return np.searchsorted(byte_places(text), places, side="right") - 1
