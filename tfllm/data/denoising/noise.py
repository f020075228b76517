"""What both kinds of noise share: random numbers and ragged rows in NumPy.

Noise is a function of (seed, epoch, number of the row), whatever the batch
size, the order or the place where a run was resumed.
"""

from typing import NamedTuple, Protocol

import numpy as np

from tfllm import stateless

# Fills the end of rows.
EMPTY = -1


class Noisy(NamedTuple):
    """Rows of sources and targets, without special tokens around them.

    Attributes:
        sources: int32 [N, S], noisy text; EMPTY behind its end.
        targets: int32 [N, T], what the decoder writes.
    """

    sources: np.ndarray
    targets: np.ndarray


class Noise(Protocol):
    """A kind of noise for rows of one width.

    Attributes:
        num_tokens: Tokens of text that a row takes, L.
        source_width: Largest number of tokens of a source, S.
        target_width: Number of tokens of a target, T.
    """

    num_tokens: int
    source_width: int
    target_width: int

    def __call__(self, tokens: np.ndarray, keys: np.ndarray) -> Noisy:
        """Adds noise.

        Args:
            tokens: int32 [N, L].
            keys: uint64 [N], key of the random numbers of each row.
        """


def uniform(keys: np.ndarray, stream: int, count: int) -> np.ndarray:
    """Returns float64 [N, count], uniform in [0, 1)."""
    bits = stateless.draw_array(keys, stream, count)
    return (bits >> np.uint64(11)) * 2.0**-53


def compact(tokens: np.ndarray, keep: np.ndarray, width: int) -> np.ndarray:
    """Moves the tokens to keep to the front of their rows, in order.

    Args:
        tokens: int32 [N, L].
        keep: bool [N, L], at most `width` true in a row.
        width: Number of columns of the result.

    Returns:
        int32 [N, width], EMPTY behind the tokens.
    """
    rows, _ = np.nonzero(keep)  # [tokens], in the order of rows
    columns = (np.cumsum(keep, axis=1) - 1)[keep]  # [tokens]
    moved = np.full((len(tokens), width), EMPTY, np.int32)
    moved[rows, columns] = tokens[keep]
    return moved
