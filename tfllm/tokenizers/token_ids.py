"""Looks tokens up in the graph, without a lookup table resource."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

_BUCKETS = 2**62


class TokenIds:
    """Looks up token ids by a binary search over hashes of the tokens.

    Args:
        ids: Spelling -> id; at least one.
    """

    def __init__(self, ids: Mapping[str, int]):
        spellings = np.array([s.encode() for s in ids], object)
        hashes = _hash(tf.constant(spellings, tf.string)).numpy()
        order = np.argsort(hashes)
        self._hashes = tf.constant(hashes[order])
        self._spellings = tf.constant(spellings[order], tf.string)
        self._ids = tf.constant(np.array([*ids.values()], np.int32)[order])

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Returns the ids of texts, int32 [N]; -1 for those without."""
        place = tf.searchsorted(self._hashes, _hash(texts))
        place = tf.minimum(place, tf.size(self._hashes) - 1)
        same = tf.gather(self._spellings, place) == texts
        return tf.where(same, tf.gather(self._ids, place), -1)


def _hash(text: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(text, _BUCKETS)
