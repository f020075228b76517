"""Pieces to text in the graph, as `sentencepiece` or `tokenizers` decode.

The two differ in what they take from the beginning of a text and in bytes
that are not UTF-8: `sentencepiece` puts U+FFFD for each wrong byte,
`tokenizers` for each byte of a run that has a wrong one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from tfllm.tokenizers.sentence_piece_model import SPACE

_REPLACEMENT = "\ufffd"
# Which spaces are taken from the beginning of a text: none, that of the first
# piece, those of the first pieces, all in the first piece, or the first space
# whatever piece it is of.
Strip = Literal["none", "piece", "pieces", "in_piece", "space"]


@dataclasses.dataclass(frozen=True)
class DecodingRules:
    """How pieces become text.

    Attributes:
        strip: What is taken from the beginning.
        shows_control: Whether control pieces are spelled.
        replaces_runs: Whether one wrong byte makes a run of bytes wrong.
        unknown: Text of the unknown piece; None: its spelling.
        byte_fallback: Whether "<0x0A>" stands for a byte.
    """

    strip: Strip = "none"
    shows_control: bool = True
    replaces_runs: bool = True
    unknown: str | None = None
    byte_fallback: bool = True


class PieceJoiner(tf.Module):
    """Joins pieces to text.

    Args:
        pieces: All tokens, in the order of their ids.
        rules: How they are joined.
        byte_values: Byte of each id that stands for one, else -1.
        control: Ids of the control pieces.
        unknown: Id of the unknown piece.
        added: Ids of tokens outside the model, spelled as they are.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        rules: DecodingRules,
        *,
        byte_values: Sequence[int],
        control: Sequence[int],
        unknown: int,
        added: Sequence[int],
    ):
        super().__init__(name="piece_joiner")
        self._rules = rules
        byte_of = np.array(byte_values, np.int32)
        plain = np.ones(len(pieces), bool)
        plain[[*control, unknown, *added]] = False
        plain &= byte_of < 0
        texts = [
            piece.replace(SPACE, " ") if is_plain else piece
            for piece, is_plain in zip(pieces, plain, strict=True)
        ]
        if not rules.shows_control:
            for number in control:
                texts[number] = ""
        if rules.unknown is not None:
            texts[unknown] = rules.unknown
        spelled = [text.encode() for text in texts]
        for number in np.flatnonzero(byte_of >= 0).tolist():
            spelled[number] = bytes([byte_of[number]])
        self.token_bytes = tuple(spelled)
        stripped = [
            _stripped(text, rules.strip) if is_plain else text
            for text, is_plain in zip(texts, plain, strict=True)
        ]
        leads = np.array([p.startswith(SPACE) for p in pieces])
        if rules.strip == "in_piece":
            leads = np.array([SPACE in piece for piece in pieces])
        leads &= plain
        silent = np.array([not s for s in spelled])
        if rules.strip == "pieces":
            silent |= np.array([p == SPACE for p in pieces]) & plain
        with tf.init_scope():
            self._spelled = tf.constant(spelled)
            self._stripped = tf.constant([text.encode() for text in stripped])
            self._byte_values = tf.constant(byte_of)
            self._leads = tf.constant(leads)
            self._silent = tf.constant(silent)

    def spell(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Joins pieces as they are, from int ragged [N, (tokens)] to [N]."""
        texts = ids.with_flat_values(tf.gather(self._spelled, ids.flat_values))
        return tf.strings.reduce_join(texts, axis=-1)

    def join(self, ids: tf.RaggedTensor, replace_invalid: bool) -> tf.Tensor:
        """Joins pieces into a text.

        Args:
            ids: int ragged [N, (tokens)].
            replace_invalid: Whether to put U+FFFD for bytes that are not
                UTF-8.

        Returns:
            string [N].
        """
        flat = ids.flat_values
        texts = tf.gather(self._spelled, flat)
        if self._rules.strip in ("piece", "pieces", "in_piece"):
            opens = self._opens(ids) & tf.gather(self._leads, flat)
            texts = tf.where(opens, tf.gather(self._stripped, flat), texts)
        if replace_invalid:
            texts = tf.where(self._is_wrong(ids), _REPLACEMENT, texts)
        joined = tf.strings.reduce_join(ids.with_flat_values(texts), axis=-1)
        if self._rules.strip == "space":
            joined = tf.strings.regex_replace(joined, "^ ", "")
        return joined

    def _opens(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Returns whether nothing was spelled before each piece, bool."""
        if self._rules.strip == "in_piece":
            starts = tf.gather(ids.row_starts(), ids.value_rowids())
            return tf.range(tf.size(ids.flat_values, tf.int64)) == starts
        loud = tf.cast(~tf.gather(self._silent, ids.flat_values), tf.int32)
        before = tf.cumsum(loud, exclusive=True)
        # [tokens + 1], for rows at the end that are empty.
        borders = tf.concat([before, [tf.reduce_sum(loud)]], 0)
        at_start = tf.gather(borders, ids.row_starts())
        return before == tf.gather(at_start, ids.value_rowids())

    def _is_wrong(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Returns which tokens are bytes that are not UTF-8, bool [tokens]."""
        rows = ids.value_rowids()
        byte = tf.gather(self._byte_values, ids.flat_values)
        size = tf.size(byte)

        def later(steps: int) -> tf.Tensor:
            """The bytes `steps` places on, -1 behind the row."""
            moved = tf.pad(byte[steps:], [[0, steps]], constant_values=-1)
            row = tf.pad(rows[steps:], [[0, steps]], constant_values=-1)
            moved, row = moved[:size], row[:size]
            return tf.where(row == rows, moved, -1)

        lengths = _character_lengths([byte, *(later(n) for n in (1, 2, 3))])
        covered = lengths > 0
        for steps in (1, 2, 3):
            before = tf.pad(lengths[:-steps], [[steps, 0]])[:size]
            covered |= before > steps
        wrong = (byte >= 0) & ~covered
        if not self._rules.replaces_runs:
            return wrong
        is_byte = byte >= 0
        joins = is_byte[1:] & is_byte[:-1] & (rows[1:] == rows[:-1])
        opens = tf.concat([tf.ones_like(is_byte[:1]), ~joins], 0)
        run = tf.cumsum(tf.cast(opens, tf.int32)) - 1
        bad = tf.math.segment_max(tf.cast(wrong, tf.int32), run)
        return is_byte & (tf.gather(bad, run) > 0)


def _stripped(text: str, strip: Strip) -> str:
    """Returns the text of a piece that opens a text."""
    if strip == "in_piece":
        return text.replace(" ", "")
    return text.removeprefix(" ")


def _character_lengths(bytes_ahead: list[tf.Tensor]) -> tf.Tensor:
    """Returns the bytes of the character that begins at each place, or 0.

    Reference: Unicode, table 3-7 (well-formed UTF-8).

    Args:
        bytes_ahead: The byte at each place and the three behind it, int32
            [tokens] each; -1 for none.
    """
    first, second, third, fourth = bytes_ahead

    def within(value: tf.Tensor, low: int, high: int) -> tf.Tensor:
        return (value >= low) & (value <= high)

    third_trails, fourth_trails = (
        within(third, 0x80, 0xBF),
        within(fourth, 0x80, 0xBF),
    )
    length = tf.where(within(first, 0, 0x7F), 1, 0)
    two = within(first, 0xC2, 0xDF) & within(second, 0x80, 0xBF)
    length = tf.where(two, 2, length)
    for low, high, start, end in (
        (0xE0, 0xE0, 0xA0, 0xBF),
        (0xE1, 0xEC, 0x80, 0xBF),
        (0xED, 0xED, 0x80, 0x9F),
        (0xEE, 0xEF, 0x80, 0xBF),
    ):
        three = within(first, low, high) & within(second, start, end)
        length = tf.where(three & third_trails, 3, length)
    for low, high, start, end in (
        (0xF0, 0xF0, 0x90, 0xBF),
        (0xF1, 0xF3, 0x80, 0xBF),
        (0xF4, 0xF4, 0x80, 0x8F),
    ):
        four = within(first, low, high) & within(second, start, end)
        length = tf.where(four & third_trails & fourth_trails, 4, length)
    return length
