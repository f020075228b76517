"""Tokenizes normalized text, with offsets in the original text."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers.token_matcher import Tokenize


def normalized(
    text: tf.Tensor, tokenize: Tokenize, form: str
) -> list[tf.RaggedTensor]:
    """Brings texts to a Unicode form and tokenizes them.

    Args:
        text: string [N], UTF-8; other bytes become U+FFFD.
        tokenize: For the normalized texts.
        form: Unicode normalization form, such as "NFC".

    Returns:
        What `tokenize` returns. A token has the offsets of whole characters;
        one that was composed has those of the first that it was made of, as
        in the `tokenizers` package.
    """
    content, places = tf_text.normalize_utf8_with_offsets_map(text, form)
    parts = list(tokenize(content))
    if len(parts) == 1:
        return parts
    ids, starts, ends = parts
    rows = ids.value_rowids()
    firsts = _char_starts(content, rows, starts.values)
    lasts = _char_starts(content, rows, ends.values - 1)
    firsts = source_places(places, starts.with_values(firsts))
    lasts = source_places(places, ends.with_values(lasts))
    sizes = char_sizes(text, rows, lasts.values)
    return [ids, firsts, lasts.with_values(lasts.values + sizes)]


def source_places(
    places: tf.Tensor, offsets: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Returns where offsets, int64 ragged [N, (tokens)], are in the source."""
    # The op fails on rows without an offset, so each row gets one more.
    opens = tf.zeros([offsets.nrows(), 1], tf.int64)
    sources = tf_text.find_source_offsets(
        places, tf.concat([opens, offsets], axis=1)
    )
    return tf.cast(sources[:, 1:], tf.int32)


def _char_starts(
    text: tf.Tensor, rows: tf.Tensor, places: tf.Tensor
) -> tf.Tensor:
    """Moves byte places back to the start of their character, int64 [N]."""
    places = tf.cast(places, tf.int64)
    for _ in range(3):
        is_trail = _bytes(text, rows, places) & 0xC0 == 0x80
        places -= tf.cast(is_trail, tf.int64)
    return places


def char_sizes(
    text: tf.Tensor, rows: tf.Tensor, places: tf.Tensor
) -> tf.Tensor:
    """Returns the bytes of the character at each place, int32 [tokens]."""
    byte = _bytes(text, rows, tf.cast(places, tf.int64))
    leads = [tf.cast(byte >= lead, tf.int32) for lead in (0xC0, 0xE0, 0xF0)]
    return 1 + tf.add_n(leads)


def _bytes(text: tf.Tensor, rows: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Returns the byte at each place of its text, uint8 [tokens]."""
    lengths = tf.cast(tf.strings.length(text), tf.int64)
    begins = tf.cumsum(lengths, exclusive=True)
    content = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
    return tf.gather(content, tf.gather(begins, rows) + places)
