"""Where tokens of a text that `FastBertNormalizer` normalized came from."""

from __future__ import annotations

import tensorflow as tf


def original_places(
    text: tf.Tensor,
    sources: tf.RaggedTensor,
    ids: tf.RaggedTensor,
    starts: tf.RaggedTensor,
    ends: tf.RaggedTensor,
) -> list[tf.RaggedTensor]:
    """Returns tokens with their places in the original texts.

    Args:
        text: string [N]. The original texts.
        sources: int64 ragged [N, (bytes)]. Where each byte of the normalized
            texts came from, as the normalizer says.
        ids: int32 ragged [N, (tokens)].
        starts: int32 ragged [N, (tokens)]. First bytes in normalized texts.
        ends: int32 ragged [N, (tokens)]. Bytes behind the last ones.

    Returns:
        ids, and starts and ends in the original texts: from the first
        character of a token to the last one that is kept.
    """
    rows = ids.value_rowids()
    # Of the texts in the flat values.
    begins = tf.gather(sources.row_starts(), rows)
    first = tf.gather(
        sources.flat_values, begins + tf.cast(starts.flat_values, tf.int64)
    )
    last = tf.gather(
        sources.flat_values, begins + tf.cast(ends.flat_values, tf.int64) - 1
    )
    last += _bytes_to_next_char(text, rows, last)
    starts = starts.with_flat_values(tf.cast(first, tf.int32))
    ends = ends.with_flat_values(tf.cast(last, tf.int32))
    return [ids, starts, ends]


def _bytes_to_next_char(
    text: tf.Tensor, rows: tf.Tensor, places: tf.Tensor
) -> tf.Tensor:
    """Returns how many bytes the character at each place still has.

    Args:
        text: string [N].
        rows: int64 [tokens]. The text of each token.
        places: int64 [tokens]. The first byte of a character, or its last:
            the normalizer reports the first for characters that it rewrites.
    """
    lengths = tf.strings.length(text)
    begins = tf.cumsum(tf.cast(lengths, tf.int64), exclusive=True)
    content = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
    byte = tf.gather(content, tf.gather(begins, rows) + places)
    wide = tf.cast(byte >= 0xC0, tf.int64)
    wider = tf.cast(byte >= 0xE0, tf.int64)
    return 1 + wide + wider + tf.cast(byte >= 0xF0, tf.int64)
