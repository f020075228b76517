"""Splits texts into words of bytes, in the graph."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers.byte_pair_model import byte_symbols
from tfllm.tokenizers.split_patterns import SplitPattern


class ByteWords:
    """Splits texts into words, spelled with one character per byte.

    Args:
        pattern: What words are.
    """

    def __init__(self, pattern: SplitPattern):
        self._pattern = pattern
        self._symbols = tf.constant([ord(s) for s in byte_symbols()], tf.int32)

    def __call__(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Splits texts, string [N].

        Returns:
            string [W], the words of all texts, and int64 [N + 1], where the
            words of each text begin and end.
        """
        # The op ends a text at U+0000; U+0001 is split just the same.
        safe = tf.strings.regex_replace(text, r"\x00", "\x01")
        words = self._pattern.words
        pieces, begins, _ = tf_text.regex_split_with_offsets(
            safe, words, keep_delim_regex_pattern=words
        )
        rows = pieces.value_rowids()
        splits = tf.cast(pieces.row_splits, tf.int64)
        opens = self._opens_word(pieces.flat_values, splits, rows)
        kept = tf.concat([[0], tf.cumsum(tf.cast(opens, tf.int64))], axis=0)
        # Where each word begins in the bytes of all texts.
        sizes = tf.cast(tf.strings.length(text), tf.int64)
        offsets = tf.cumsum(sizes, exclusive=True)
        places = tf.gather(offsets, rows) + tf.cast(
            begins.flat_values, tf.int64
        )
        borders = tf.concat(
            [tf.boolean_mask(places, opens), [tf.reduce_sum(sizes)]], 0
        )
        content = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
        symbols = tf.gather(self._symbols, tf.cast(content, tf.int32))
        spelled = tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_splits(symbols, borders, validate=False),
            "UTF-8",
        )
        return spelled, tf.gather(kept, splits)

    def _opens_word(
        self, pieces: tf.Tensor, splits: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """Returns the pieces that open a word, bool [P].

        White space joins that before it, unless it is the last of its run and
        the word that follows does not begin with white space.

        Args:
            pieces: string [P].
            splits: int64 [N + 1], the pieces of each text.
            rows: int64 [P], the text of each piece.
        """
        blank = tf.strings.regex_full_match(pieces, self._pattern.blanks)
        if self._pattern.prefixes == " ":
            prefixed = tf.strings.substr(pieces, 0, 1) == " "
        else:
            prefixed = tf.strings.regex_full_match(
                pieces, rf"{self._pattern.prefixes}\C*"
            )
        spaced = blank | prefixed
        number = tf.range(tf.size(pieces, tf.int64))
        first = number == tf.gather(splits, rows)
        last = number + 1 == tf.gather(splits, rows + 1)
        before = tf.concat([[False], blank[:-1]], 0)[: tf.size(blank)]
        after = tf.concat([spaced[1:], [False]], 0)[: tf.size(blank)]
        return ~(blank & before & ~first & (after | last))
