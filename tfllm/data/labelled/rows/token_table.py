"""Tokenizes texts into flat arrays.

A `TokenTable` holds any number of texts in a few NumPy arrays: a million short
texts take some bytes per token, and no Python objects.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm.tokenizers.text_tokenizer import Tokenizer

_SLICE_TEXTS = 4096
_SLICE_BYTES = 1 << 21
QUIET_SECONDS = 3  # before a progress bar shows


@dataclasses.dataclass(frozen=True)
class TokenTable:
    """The tokens of many texts.

    Attributes:
        ids: uint16 or int32 [tokens], ids of all texts.
        splits: int64 [N + 1]; text i has tokens splits[i] to splits[i + 1].
        starts: int32 [tokens], first byte of each token in its text, or None.
        ends: int32 [tokens], byte after the last, or None.
    """

    ids: np.ndarray
    splits: np.ndarray
    starts: np.ndarray | None = None
    ends: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int64 [N]."""
        return np.diff(self.splits)


def tokenize(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    with_offsets: bool = False,
) -> TokenTable:
    """Tokenizes texts in slices of a few megabytes.

    Args:
        texts: The texts.
        tokenizer: The tokenizer of the run.
        with_offsets: Whether to keep the byte offsets of tokens.
    """
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32
    parts: list[list[np.ndarray]] = []
    counts = [np.zeros(1, np.int64)]
    with tqdm(
        total=len(texts), unit="text", desc="tokenizing", delay=QUIET_SECONDS
    ) as progress:
        for slice_ in _slices(texts):
            text = tf.constant(slice_)
            tokens = (
                tokenizer.tokenize_with_offsets(text)
                if with_offsets
                else (tokenizer.tokenize(text),)
            )
            parts.append([part.flat_values.numpy() for part in tokens])
            parts[-1][0] = parts[-1][0].astype(dtype)
            counts.append(tokens[0].row_lengths().numpy().astype(np.int64))
            progress.update(len(slice_))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return TokenTable(
        columns[0], np.cumsum(np.concatenate(counts)), *columns[1:]
    )


def _slices(texts: Sequence[str]) -> list[list[bytes]]:
    """Groups texts, as UTF-8, for one call of the tokenizer each."""
    slices: list[list[bytes]] = []
    filled = _SLICE_BYTES
    for text in texts:
        content = text.encode("utf-8")
        if filled >= _SLICE_BYTES or len(slices[-1]) >= _SLICE_TEXTS:
            slices.append([])
            filled = 0
        slices[-1].append(content)
        filled += len(content)
    return slices
