"""Texts as token ids in flat arrays, tokenized once.

A `TokenTable` holds any number of texts in three NumPy arrays, so that a
million short texts cost a few bytes per token and no objects.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
from tqdm import tqdm

_SLICE_TEXTS = 4096
_SLICE_BYTES = 1 << 21
QUIET_SECONDS = 3  # before a progress bar shows


class LabelledTokenizer(Protocol):
    """What a tokenizer must offer."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""

    @property
    def pad_id(self) -> int:
        """Id that fills a row."""

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """String [N] -> int32 ragged [N, (tokens)]."""

    def tokenize_with_offsets(
        self, text: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """String [N] -> ids, first bytes and ends of the tokens."""


@dataclasses.dataclass(frozen=True)
class TokenTable:
    """The tokens of many texts.

    Attributes:
        ids: uint16 or int32 [tokens of all texts].
        splits: int64 [N + 1]; text i has tokens splits[i] to splits[i + 1].
        starts: int32 [tokens], first byte of each token in its text, or None.
        ends: int32 [tokens], the byte after it, or None.
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
    tokenizer: LabelledTokenizer,
    with_offsets: bool = False,
) -> TokenTable:
    """Tokenizes texts in slices of a few megabytes.

    Args:
        texts: The texts.
        tokenizer: The tokenizer of the run.
        with_offsets: Whether to keep where each token came from.
    """
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32
    parts: list[list[np.ndarray]] = []
    counts = [np.zeros(1, np.int64)]
    with tqdm(
        total=len(texts), unit="text", desc="tokenizing", delay=QUIET_SECONDS
    ) as progress:
        for slice_ in _slices(texts):
            text = tf.constant(slice_)
            found = (
                tokenizer.tokenize_with_offsets(text)
                if with_offsets
                else (tokenizer.tokenize(text),)
            )
            parts.append([part.flat_values.numpy() for part in found])
            parts[-1][0] = parts[-1][0].astype(dtype)
            counts.append(found[0].row_lengths().numpy().astype(np.int64))
            progress.update(len(slice_))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return TokenTable(
        columns[0], np.cumsum(np.concatenate(counts)), *columns[1:]
    )


def _slices(texts: Sequence[str]) -> list[list[bytes]]:
    """Cuts texts, as UTF-8, into parts for one call of the tokenizer."""
    slices: list[list[bytes]] = []
    filled = _SLICE_BYTES
    for text in texts:
        # What JSON escapes may hold and UTF-8 cannot.
        content = text.encode("utf-8", errors="replace")
        if filled >= _SLICE_BYTES or len(slices[-1]) >= _SLICE_TEXTS:
            slices.append([])
            filled = 0
        slices[-1].append(content)
        filled += len(content)
    return slices
