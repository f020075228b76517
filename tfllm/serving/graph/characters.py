"""Converts byte positions of texts to character positions, in the graph.

Tokenizers count bytes; answers to users count characters.
"""

import sys

import tensorflow as tf

# White space, as `str.isspace` and `str.strip` define it.
SPACES = tuple(i for i in range(sys.maxunicode + 1) if chr(i).isspace())


class Characters:
    """Positions of the characters of texts.

    The characters of all texts lie in one array, each text followed by an end
    mark, as if the texts were one string with one byte between them.

    Args:
        text: string [B], UTF-8.
    """

    def __init__(self, text: tf.Tensor) -> None:
        self.text = text
        codes, places = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
        sizes = tf.cast(tf.strings.length(text), tf.int64)
        self._bases = tf.cumsum(sizes + 1, exclusive=True)
        # End marks: no character has the code -1.
        end = tf.fill([tf.size(sizes), 1], -1)
        # [B, (characters)] -> [C], the characters and end marks of all texts
        self._codes = tf.concat([codes, end], axis=1).flat_values
        places = tf.concat([places, sizes[:, None]], axis=1)
        self._firsts = places.row_starts()  # [B]
        self._places = places.flat_values + tf.gather(
            self._bases, places.value_rowids()
        )

    def holding(self, rows: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Returns the characters that contain bytes, int64 [N].

        Args:
            rows: int64 [N], index of the text of each byte.
            places: int64 [N], byte positions.
        """
        return self._index(rows, places, "right") - 1

    def from_byte(self, rows: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Returns the first characters at or after bytes, int64 [N]."""
        return self._index(rows, places, "left")

    def filled(self, rows: tf.Tensor, characters: tf.Tensor) -> tf.Tensor:
        """Returns the first characters from there that are not white space.

        Args:
            rows: int64 [N], index of the text of each character.
            characters: int64 [N], character positions.

        Returns:
            int64 [N]; the end of the text if only white space follows.
        """
        spaces = tf.constant(SPACES, tf.int32)
        # [C, spaces] -> [C]
        blank = tf.reduce_any(self._codes[:, None] == spaces, axis=1)
        following = tf.where(~blank)[:, 0]
        firsts = tf.gather(self._firsts, rows)
        index = tf.searchsorted(following, firsts + characters, "left")
        return tf.gather(following, index) - firsts

    def cut(
        self, rows: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor
    ) -> tf.Tensor:
        """Returns substrings, string [N].

        Args:
            rows: int64 [N], index of the text of each substring.
            starts: int64 [N], first characters.
            ends: int64 [N], characters after the last.
        """
        # tf.strings.substr would copy a whole text for each of its parts.
        firsts = tf.gather(self._firsts, rows)
        # [N, (characters)]
        places = tf.ragged.range(firsts + starts, firsts + ends)
        codes = places.with_flat_values(
            tf.gather(self._codes, places.flat_values)
        )
        return tf.strings.unicode_encode(codes, "UTF-8")

    def _index(
        self, rows: tf.Tensor, places: tf.Tensor, side: str
    ) -> tf.Tensor:
        """Returns the insertion points of bytes among characters, int64 [N]."""
        places = tf.cast(places, tf.int64) + tf.gather(self._bases, rows)
        index = tf.searchsorted(self._places, places, side)
        return tf.cast(index, tf.int64) - tf.gather(self._firsts, rows)


def stripped(text: tf.Tensor) -> tf.Tensor:
    """Removes white space around texts, as `str.strip` does."""
    spaces = "".join(f"\\x{{{code:x}}}" for code in SPACES)
    return tf.strings.regex_replace(text, f"^[{spaces}]+|[{spaces}]+$", "")
