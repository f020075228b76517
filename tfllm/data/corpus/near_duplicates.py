"""Near-duplicate documents by MinHash signatures and banded LSH.

All results are pure functions of the documents, whatever their order, so that
the in-process build and the Beam pipeline drop the same ones. The arithmetic is
vectorised NumPy on uint64, and does not depend on PYTHONHASHSEED.

Reference: Broder, 1997 (resemblance, MinHash); Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, section 3.4 (banding).
"""

import dataclasses
import re
import zlib

import numpy as np

from tfllm.data.positive import check_positive

_CJK = re.compile("([\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff])")
_PUNCTUATION = bytes(
    c for c in range(128) if not (chr(c).isalnum() or chr(c).isspace())
)
# Shingles hashed at a time: 64 x 2048 x 8 bytes stay in the cache.
_BLOCK = 2048
# Comparisons per document and bucket. Without a limit, n documents that share
# only a band would cost n^2.
_MAX_COMPARISONS = 64


@dataclasses.dataclass(frozen=True)
class NearDuplicateConfig:
    """What counts as a near duplicate.

    Attributes:
        threshold: Estimated Jaccard similarity of word shingles from which on
            two documents are duplicates; 0 turns the step off.
        shingle_size: Words per shingle.
        num_permutations: Length of a signature. Each entry takes 4 bytes per
            document; the standard error of the estimate is at most
            0.5 / sqrt(num_permutations).
    """

    threshold: float = 0.8
    shingle_size: int = 5
    num_permutations: int = 64

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(
                "`near_duplicate_threshold` must be in [0, 1], 0 for off. "
                f"Received: {self.threshold}."
            )
        check_positive(self, "shingle_size", "num_permutations")

    @property
    def rows_per_band(self) -> int:
        """Signature rows per band.

        The largest number with which two documents at the threshold share a
        band with a probability of at least 0.97.
        """
        for rows in range(self.num_permutations, 1, -1):
            bands = self.num_permutations // rows
            if 1.0 - (1.0 - self.threshold**rows) ** bands >= 0.97:
                return rows
        return 1

    @property
    def num_bands(self) -> int:
        """Bands per signature."""
        return self.num_permutations // self.rows_per_band


def _mix(x: np.ndarray) -> np.ndarray:
    """Scatters uint64 values by the finalizer of SplitMix64, a bijection."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _constants(count: int, stream: int) -> np.ndarray:
    """Returns fixed random constants, uint64 [count]."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    first = np.uint64(stream) << np.uint64(32)
    return _mix((first + np.arange(1, count + 1, dtype=np.uint64)) * golden)


def word_hashes(text: str) -> np.ndarray:
    """Returns the hashes of words in lower case, without ASCII punctuation.

    Each CJK character is a word, as these scripts have no spaces.

    Returns:
        uint64 [W].
    """
    if not text.isascii():
        text = _CJK.sub(r" \1 ", text)
    words = text.lower().encode("utf-8", "replace")
    words = words.translate(None, _PUNCTUATION)
    return np.array([zlib.crc32(w) for w in words.split()], dtype=np.uint64)


class MinHasher:
    """Computes MinHash signatures.

    Args:
        config: What counts as a near duplicate.
    """

    def __init__(self, config: NearDuplicateConfig) -> None:
        self.config = config
        self._position = _constants(config.shingle_size, 1) | np.uint64(1)
        self._multiply = _constants(config.num_permutations, 2) | np.uint64(1)
        self._add = _constants(config.num_permutations, 3)

    def signature(self, text: str) -> np.ndarray:
        """Returns the signature of a document, uint32 [num_permutations].

        The share of equal entries in two signatures estimates the Jaccard
        similarity of their shingle sets.
        """
        words = word_hashes(text)
        size = self.config.shingle_size
        if len(words) < size:  # one shingle, padded
            words = np.pad(words, (0, size - len(words)))
        count = len(words) - size + 1
        shingles = np.zeros(count, np.uint64)
        for i, factor in enumerate(self._position):
            shingles += words[i : i + count] * factor
        shingles = _mix(shingles)
        lowest = np.full(
            self.config.num_permutations, np.iinfo(np.uint64).max, np.uint64
        )
        for start in range(0, count, _BLOCK):
            block = shingles[start : start + _BLOCK, None]
            hashes = block * self._multiply + self._add
            np.minimum(lowest, hashes.min(axis=0), out=lowest)
        # Multiply-shift hashing: the high half carries the randomness.
        return (lowest >> np.uint64(32)).astype(np.uint32)


def band_keys(
    signatures: np.ndarray, band: int, config: NearDuplicateConfig
) -> np.ndarray:
    """Hashes one band of each MinHash signature to a bucket.

    Args:
        signatures: uint32 [N, num_permutations].
        band: Index of the band, below `config.num_bands`.
        config: What counts as a near duplicate.

    Returns:
        uint64 [N], below 2^63, as Beam's integers are signed. Documents with
        equal keys share a bucket.
    """
    rows = config.rows_per_band
    used = signatures[:, band * rows : (band + 1) * rows]
    factors = _constants(rows, 4) | np.uint64(1)
    keys = _mix((used * factors).sum(axis=1, dtype=np.uint64))
    return keys >> np.uint64(1)


def duplicates_in_bucket(
    hashes: np.ndarray, signatures: np.ndarray, threshold: float
) -> np.ndarray:
    """Returns documents of a bucket similar to one with a smaller hash.

    The order of documents does not matter: each of the 64 documents with the
    smallest hashes drops those with larger hashes that share enough signature
    entries. The smallest hash of a group is always kept.

    Args:
        hashes: uint64 [N], distinct.
        signatures: uint32 [N, num_permutations].
        threshold: Share of equal entries of duplicates.

    Returns:
        uint64 hashes to drop.
    """
    order = np.argsort(hashes)
    hashes, signatures = hashes[order], signatures[order]
    dropped = np.zeros(len(hashes), bool)
    for i in range(min(len(hashes) - 1, _MAX_COMPARISONS)):
        rest = signatures[i + 1 :]
        similarity = (rest == signatures[i]).mean(axis=1)
        dropped[i + 1 :] |= similarity >= threshold
    return hashes[dropped]


def find_near_duplicates(
    hashes: np.ndarray, signatures: np.ndarray, config: NearDuplicateConfig
) -> np.ndarray:
    """Returns the near duplicates to drop from a corpus.

    Args:
        hashes: uint64 [N], distinct content hashes.
        signatures: uint32 [N, num_permutations].
        config: What counts as a near duplicate.

    Returns:
        uint64 hashes to drop, sorted.
    """
    if not config.threshold or len(hashes) < 2:
        return np.zeros(0, np.uint64)
    dropped = []
    for band in range(config.num_bands):
        # Keys of one band at a time, to save memory.
        keys = band_keys(signatures, band, config)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[0]]))
        ends = np.append(starts[1:], len(keys))
        for start, end in zip(starts, ends, strict=True):
            if end - start > 1:
                members = order[start:end]
                dropped.append(
                    duplicates_in_bucket(
                        hashes[members], signatures[members], config.threshold
                    )
                )
    return np.unique(np.concatenate(dropped)) if dropped else hashes[:0]
