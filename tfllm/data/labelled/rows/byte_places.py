"""Between the characters of a text and the bytes of its UTF-8.

Tokenizers count in bytes; what users see counts in characters.
"""

import numpy as np


def byte_places(text: str) -> np.ndarray:
    """Returns the byte where each character begins, and the end.

    Args:
        text: Any text. A lone surrogate counts as the "?" that stands for it.

    Returns:
        int64 [len(text) + 1].
    """
    if text.isascii():
        return np.arange(len(text) + 1)
    codes = np.frombuffer(
        text.encode("utf-32-le", errors="surrogatepass"), np.uint32
    )
    sizes = 1 + (codes >= 0x80) + (codes >= 0x800).astype(np.int64)
    sizes += codes >= 0x10000
    sizes[(codes >= 0xD800) & (codes < 0xE000)] = 1
    return np.concatenate([[0], np.cumsum(sizes)])


def character_places(text: str, places: np.ndarray) -> np.ndarray:
    """Returns the character in which each byte lies.

    Args:
        text: The text.
        places: int [N], bytes of it.
    """
    if text.isascii():
        return places
    return np.searchsorted(byte_places(text), places, side="right") - 1
