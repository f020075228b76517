"""Between bytes and characters of texts, in the graph.

Tokenizers count in bytes; what users see counts in characters.
"""

import sys

import tensorflow as tf

# What `str.isspace` and `str.strip` take for white space.
SPACES = tuple(i for i in range(sys.maxunicode + 1) if chr(i).isspace())


class Characters:
    """Where the characters of texts stand.

    All of them in one array, those of a text followed by its end, as if the
    texts lay in one row of bytes with one byte between them.

    Args:
        text: string [B], UTF-8.
    """

    def __init__(self, text: tf.Tensor) -> None:
        """See the class."""
        self.text = text
        codes, places = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
        sizes = tf.cast(tf.strings.length(text), tf.int64)
        self._bases = tf.cumsum(sizes + 1, exclusive=True)
        end = tf.fill([tf.size(sizes), 1], -1)
        # No character has this code.
        self._codes = tf.concat([codes, end], axis=1).flat_values
        places = tf.concat([places, sizes[:, None]], axis=1)
        self._firsts = places.row_starts()
        self._places = places.flat_values + tf.gather(
            self._bases, places.value_rowids()
        )

    def holding(self, rows: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Returns the characters that hold bytes, int64 [N].

        Args:
            rows: int64 [N], the text of each.
            places: int64 [N], bytes.
        """
        return self._index(rows, places, "right") - 1

    def from_byte(self, rows: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Returns the first characters that begin at a byte or later."""
        return self._index(rows, places, "left")

    def bytes_of(self, rows: tf.Tensor, characters: tf.Tensor) -> tf.Tensor:
        """Returns the byte at which each character begins, int64 [N]."""
        index = tf.gather(self._firsts, rows) + characters
        return tf.gather(self._places, index) - tf.gather(self._bases, rows)

    def filled(self, rows: tf.Tensor, characters: tf.Tensor) -> tf.Tensor:
        """Returns the next characters that are no white space, or the end."""
        spaces = tf.constant(SPACES, tf.int32)
        blank = tf.reduce_any(self._codes[:, None] == spaces, axis=1)
        following = tf.where(~blank)[:, 0]
        firsts = tf.gather(self._firsts, rows)
        index = tf.searchsorted(following, firsts + characters, "left")
        return tf.gather(following, index) - firsts

    def cut(
        self, rows: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor
    ) -> tf.Tensor:
        """Returns parts of texts, string [N].

        Args:
            rows: int64 [N], the text of each.
            starts: int64 [N], first characters.
            ends: int64 [N], those after the last.
        """
        first = self.bytes_of(rows, starts)
        last = self.bytes_of(rows, ends)
        return tf.strings.substr(
            tf.gather(self.text, rows), first, last - first
        )

    def _index(
        self, rows: tf.Tensor, places: tf.Tensor, side: str
    ) -> tf.Tensor:
        """Returns where bytes go among the characters of their texts."""
        places = tf.cast(places, tf.int64) + tf.gather(self._bases, rows)
        index = tf.searchsorted(self._places, places, side)
        return tf.cast(index, tf.int64) - tf.gather(self._firsts, rows)


def stripped(text: tf.Tensor) -> tf.Tensor:
    """Returns texts without white space around them, as `str.strip`."""
    spaces = "".join(f"\\x{{{code:x}}}" for code in SPACES)
    return tf.strings.regex_replace(text, f"^[{spaces}]+|[{spaces}]+$", "")
