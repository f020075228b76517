"""The normalizer of a tokenizer.json in the graph, with places in bytes.

It works on the characters of all texts of a batch in one row, C for short.

`Precompiled` is that of the `tokenizers` package: it looks at each grapheme
cluster of less than six bytes, and replaces the whole of it if its beginning
has an entry in the map, the shortest that has one; else it looks at each
character. The `sentencepiece` package takes the longest text with an entry
instead, so that "ﬁ" with an accent keeps the accent there and loses it here.

Known differences from `tokenizers`:
    * Of clusters that Unicode joins by other rules than marks (Hangul, flags,
      emoji, Indic conjuncts), which have six bytes or more, the last part may
      be taken for one of less.
    * Places are those of the characters that a token was made of; those of
      `tokenizers` are shifted behind a character that becomes several.

Reference: Unicode Standard Annex 29, 3.1.1 (extended grapheme clusters).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers import character_steps as steps
from tfllm.tokenizers import character_tables
from tfllm.tokenizers.normalization import char_sizes, source_places
from tfllm.tokenizers.sentence_piece_graph import Normalized, utf8_sizes
from tfllm.tokenizers.sentence_piece_model import SPACE

# Clusters of this many bytes are looked at character by character.
_CLUSTER_BYTES = 6
# Those below it have at most so many characters.
_KEY_CHARS = 3
_SPACES = (
    *(*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)),
    *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
)


class Characters(NamedTuple):
    """The characters of all texts.

    Attributes:
        codes: int32 [C]. Code points.
        starts: int32 [C]. Where each came from in its text, in bytes.
        ends: int32 [C]. Where what it came from ends.
        splits: int64 [N + 1]. Where those of each text begin.
    """

    codes: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    splits: tf.Tensor

    def rows(self) -> tf.Tensor:
        """Returns the text of each character, int64 [C]."""
        return tf.RaggedTensor.from_row_splits(
            self.codes, self.splits, validate=False
        ).value_rowids()

    def repeat(self, counts: tf.Tensor) -> tuple[Characters, tf.Tensor]:
        """Repeats, or drops, each character.

        Args:
            counts: int32 [C].

        Returns:
            The characters, and their number among the copies of one.
        """
        number = tf.repeat(tf.range(tf.size(counts)), counts)  # [C] -> [C']
        borders = tf.concat([[0], tf.cumsum(counts)], 0)
        splits = tf.gather(borders, self.splits)
        inside = tf.range(tf.size(number)) - tf.gather(borders, number)
        made = Characters(
            tf.gather(self.codes, number),
            tf.gather(self.starts, number),
            tf.gather(self.ends, number),
            tf.cast(splits, tf.int64),
        )
        return made, inside


class CharacterNormalizer(tf.Module):
    """Normalizes texts step by step.

    Args:
        form: The form of Unicode that texts are brought to before the steps.
        sequence: The steps.
    """

    def __init__(self, form: steps.Form | None, sequence: Sequence[steps.Step]):
        super().__init__(name="character_normalizer")
        self._form = form
        self._steps = [_BUILDERS[type(step)](step) for step in sequence]

    def normalize(self, text: tf.Tensor) -> tf.Tensor:
        """Returns normalized texts, string [N]."""
        return _encode(self._take_steps(text))

    def normalize_with_places(self, text: tf.Tensor) -> Normalized:
        """Returns normalized texts, and the place of each of their bytes."""
        chars = self._take_steps(text)
        sizes = utf8_sizes(chars.codes)  # [C]
        borders = tf.concat([[0], tf.cumsum(sizes)], 0)
        splits = tf.cast(tf.gather(borders, chars.splits), tf.int64)

        def of_bytes(places: tf.Tensor) -> tf.RaggedTensor:
            # [C] -> ragged [N, (bytes)]
            return tf.RaggedTensor.from_row_splits(
                tf.repeat(places, sizes), splits, validate=False
            )

        return Normalized(
            _encode(chars), of_bytes(chars.starts), of_bytes(chars.ends)
        )

    def _take_steps(self, text: tf.Tensor) -> Characters:
        chars = self._decode(text)
        for step in self._steps:
            chars = step(chars)
        return chars

    def _decode(self, text: tf.Tensor) -> Characters:
        """Returns the characters of texts, string [N]."""
        if self._form is None:
            return _decode(text)
        content, places = tf_text.normalize_utf8_with_offsets_map(
            text, self._form
        )
        chars = _decode(content)
        starts = source_places(
            places,
            tf.RaggedTensor.from_row_splits(
                tf.cast(chars.starts, tf.int64), chars.splits, validate=False
            ),
        ).flat_values
        ends = starts + char_sizes(text, chars.rows(), starts)
        return chars._replace(starts=starts, ends=ends)


def _decode(text: tf.Tensor) -> Characters:
    codes, starts = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
    # The places of the next characters, and the ends of texts.
    sizes = tf.cast(tf.strings.length(text), tf.int64)
    borders = tf.concat([starts, sizes[:, None]], axis=1)
    return Characters(
        codes.flat_values,
        tf.cast(starts.flat_values, tf.int32),
        tf.cast(borders[:, 1:].flat_values, tf.int32),
        codes.row_splits,
    )


def _encode(chars: Characters) -> tf.Tensor:
    ragged = tf.RaggedTensor.from_row_splits(
        chars.codes, chars.splits, validate=False
    )
    return tf.strings.unicode_encode(ragged, "UTF-8")


def _is_first(chars: Characters) -> tf.Tensor:
    """Returns which characters open a text, bool [C]."""
    rows = chars.rows()
    return tf.concat(
        [tf.ones_like(rows[:1], tf.bool), rows[1:] != rows[:-1]], 0
    )


def _moved(flags: tf.Tensor, chars: Characters, places: int) -> tf.Tensor:
    """Returns what stands `places` before each character of its text.

    Args:
        flags: [C].
        chars: The characters.
        places: May be negative; where there is none, the result is False or 0.
    """
    rows = chars.rows()
    size = tf.size(flags)
    number = tf.range(size) - places
    inside = (number >= 0) & (number < size)
    number = tf.where(inside, number, 0)
    same = inside & (tf.gather(rows, number) == rows)
    return tf.where(same, tf.gather(flags, number), tf.zeros_like(flags))


class _IsIn(tf.Module):
    """Tells which code points are in ranges."""

    def __init__(self, ranges: Sequence[tuple[int, int]]):
        super().__init__()
        borders = [b for first, last in ranges for b in (first, last + 1)]
        self._borders = tf.constant(borders, tf.int32)

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        place = tf.searchsorted(self._borders, codes, side="right")
        return place % 2 == 1


class _Table(tf.Module):
    """Replaces texts of at most three characters."""

    def __init__(self, table: Mapping[str, str]):
        super().__init__()
        packed = {_pack(key): value for key, value in table.items()}
        keys = sorted(packed) or [-1]
        texts = [[ord(c) for c in packed.get(key, "")] for key in keys]
        lengths = [len(text) for text in texts]
        self.keys = tf.constant(keys, tf.int64)
        self._lengths = tf.constant(lengths, tf.int32)
        self._begins = tf.constant(np.cumsum([0, *lengths])[:-1], tf.int32)
        self._codes = tf.constant([c for t in texts for c in t] + [0], tf.int32)

    def find(self, keys: tf.Tensor) -> tf.Tensor:
        """Returns the entries of packed texts, int64, or -1; int32 [C]."""
        place = tf.searchsorted(self.keys, keys)
        place = tf.minimum(place, tf.size(self.keys) - 1)
        return tf.where(tf.gather(self.keys, place) == keys, place, -1)

    def replace(
        self, chars: Characters, entries: tf.Tensor, keeps: tf.Tensor
    ) -> Characters:
        """Puts the texts of entries in the place of characters.

        Args:
            chars: The characters.
            entries: int32 [C], -1 for those that stay.
            keeps: bool [C]. The others are dropped.
        """
        known = tf.maximum(entries, 0)
        counts = tf.where(entries >= 0, tf.gather(self._lengths, known), 1)
        counts = tf.where(keeps, counts, 0)
        # Each copy takes its character from the table.
        begin = tf.where(entries >= 0, tf.gather(self._begins, known), -1)
        place = tf.repeat(begin, counts)  # [C] -> [C']
        made, inside = chars.repeat(counts)
        taken = tf.where(place >= 0, place + inside, 0)
        codes = tf.gather(self._codes, taken)
        return made._replace(codes=tf.where(place >= 0, codes, made.codes))


def _pack(text: str) -> int:
    """Returns a text of at most three characters as one number."""
    return sum(
        (ord(char) + (1 if place else 0)) << (21 * place)
        for place, char in enumerate(text)
    )


class _CharacterMap(tf.Module):
    def __init__(self, step: steps.CharacterMap):
        super().__init__()
        self._table = _Table(steps.character_table(step.rules))

    def __call__(self, chars: Characters) -> Characters:
        entries = self._table.find(tf.cast(chars.codes, tf.int64))
        return self._table.replace(
            chars, entries, tf.ones_like(entries, tf.bool)
        )


class _Precompiled(tf.Module):
    def __init__(self, step: steps.Precompiled):
        super().__init__()
        # The first five bytes decide; longer keys are of one character only.
        table = steps.charsmap_table(step.charsmap, _CLUSTER_BYTES - 1)
        self._table = _Table(
            {k: v for k, v in table.items() if len(k) <= _KEY_CHARS}
        )
        self._joins = _IsIn(character_tables.ranges(character_tables.JOINS))
        self._prepends = _IsIn(
            character_tables.ranges(character_tables.PREPENDS)
        )
        self._controls = _IsIn(
            character_tables.ranges(character_tables.CONTROLS)
        )

    def __call__(self, chars: Characters) -> Characters:
        codes = tf.cast(chars.codes, tf.int64)
        entries = self._table.find(codes)
        opens = self._opens_cluster(chars)
        cluster = tf.cumsum(tf.cast(opens, tf.int32)) - 1  # [C]
        sizes = tf.math.segment_sum(utf8_sizes(chars.codes), cluster)
        counts = tf.math.segment_sum(tf.ones_like(cluster), cluster)
        is_small = (counts > 1) & (sizes < _CLUSTER_BYTES)  # [clusters]
        small = tf.gather(is_small, cluster)  # [C]
        heads = small & opens
        # The shortest beginning of a cluster that has an entry.
        key = codes
        whole = entries
        for place in range(1, _KEY_CHARS):
            longer = tf.gather(counts, cluster) > place
            char = _moved(codes, chars, -place)
            key += tf.where(longer, (char + 1) * 2 ** (21 * place), 0)
            whole = tf.where((whole < 0) & longer, self._table.find(key), whole)
        # [C] -> [clusters] -> [C]
        at_head = tf.where(heads, whole, -1)
        replaced = tf.math.segment_max(at_head, cluster) >= 0
        dropped = tf.gather(replaced, cluster) & ~opens & small
        entries = tf.where(heads & (whole >= 0), whole, entries)
        return self._table.replace(chars, entries, ~dropped)

    def _opens_cluster(self, chars: Characters) -> tf.Tensor:
        """Returns which characters open a grapheme cluster, bool [C]."""
        codes = chars.codes
        control = self._controls(codes)
        before = _moved(tf.cast(control, tf.int32), chars, 1) > 0
        joins = self._joins(codes) & ~before
        prepended = _moved(tf.cast(self._prepends(codes), tf.int32), chars, 1)
        joins |= (prepended > 0) & ~control
        joins |= (codes == 0x0A) & (_moved(codes, chars, 1) == 0x0D)
        return _is_first(chars) | ~joins


class _ReplaceText(tf.Module):
    def __init__(self, step: steps.ReplaceText):
        super().__init__()
        self._pattern = [ord(char) for char in step.pattern]
        self._table = _Table({"\0": step.content})

    def __call__(self, chars: Characters) -> Characters:
        size = len(self._pattern)
        matches = tf.ones_like(chars.codes, tf.bool)
        for place, code in enumerate(self._pattern):
            matches &= _moved(chars.codes, chars, -place) == code
        if size > 1 and len(set(self._pattern)) == 1:
            matches &= self._number_in_run(chars) % size == 0
        inside = tf.zeros_like(matches)
        flags = tf.cast(matches, tf.int32)
        for place in range(1, size):
            inside |= _moved(flags, chars, place) > 0
        entries = tf.where(matches, 0, -1)
        return self._table.replace(chars, entries, ~inside)

    def _number_in_run(self, chars: Characters) -> tf.Tensor:
        """Returns the number of each character in its run, int32 [C]."""
        same = _moved(chars.codes, chars, 1) == chars.codes
        opens = _is_first(chars) | ~same
        run = tf.cumsum(tf.cast(opens, tf.int32)) - 1
        number = tf.range(tf.size(run))
        return number - tf.gather(tf.math.segment_min(number, run), run)


class _ReplaceSpaces(tf.Module):
    def __init__(self, step: steps.ReplaceSpaces):
        super().__init__()
        self._content = ord(step.content)

    def __call__(self, chars: Characters) -> Characters:
        is_space = tf.cast(chars.codes == 0x20, tf.int32)
        before = _moved(is_space, chars, 1)
        behind = _moved(is_space, chars, -1)
        opens = (is_space > 0) & (before == 0) & (behind > 0)
        codes = tf.where(opens, self._content, chars.codes)
        chars = chars._replace(codes=codes)
        return chars.repeat(1 - is_space * before)[0]


def _spaces(codes: tf.Tensor) -> tf.Tensor:
    """Returns which code points are white space, bool [C]."""
    return tf.reduce_any(codes[:, None] == tf.constant(_SPACES), axis=1)


def _at_ends(
    chars: Characters, silent: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which characters nothing but silent ones precede, and follow.

    Args:
        chars: The characters.
        silent: bool [C].

    Returns:
        Two bool [C]; only silent characters are True.
    """
    loud = tf.cast(~silent, tf.int32)
    total = tf.concat([[0], tf.cumsum(loud)], 0)  # [C + 1]
    rows = chars.rows()
    first = tf.gather(tf.gather(total, chars.splits[:-1]), rows)
    last = tf.gather(tf.gather(total, chars.splits[1:]), rows)
    return silent & (total[1:] == first), silent & (total[:-1] == last)


class _StripSpaces(tf.Module):
    def __init__(self, step: steps.StripSpaces):
        super().__init__()
        self._step = step

    def __call__(self, chars: Characters) -> Characters:
        opens, ends = _at_ends(chars, _spaces(chars.codes))
        dropped = (opens & self._step.left) | (ends & self._step.right)
        return chars.repeat(tf.cast(~dropped, tf.int32))[0]


class _TrimMarks(tf.Module):
    def __init__(self, step: steps.TrimMarks):
        super().__init__()
        del step

    def __call__(self, chars: Characters) -> Characters:
        is_space = chars.codes == 0x20
        opens, _ = _at_ends(chars, is_space)
        _, ends = _at_ends(chars, is_space | (chars.codes == ord(SPACE)))
        return chars.repeat(tf.cast(~(opens | ends), tf.int32))[0]


class _Prepend(tf.Module):
    def __init__(self, step: steps.Prepend):
        super().__init__()
        self._content = ord(step.content)

    def __call__(self, chars: Characters) -> Characters:
        first = tf.cast(_is_first(chars), tf.int32)
        # The first of two copies becomes what is put before the text.
        put = tf.repeat(first, 1 + first) > 0
        made, inside = chars.repeat(1 + first)
        put &= inside == 0
        return made._replace(codes=tf.where(put, self._content, made.codes))


class _JoinWords(tf.Module):
    def __init__(self, step: steps.JoinWords):
        super().__init__()
        del step

    def __call__(self, chars: Characters) -> Characters:
        is_space = _spaces(chars.codes)
        opens, ends = _at_ends(chars, is_space)
        mark = ord(SPACE)
        flags = tf.cast(is_space, tf.int32)
        # The last of a run stands for it, unless a "▁" follows.
        follows = _moved(flags, chars, -1) > 0
        follows |= _moved(chars.codes, chars, -1) == mark
        dropped = is_space & (opens | ends | follows)
        codes = tf.where(is_space, mark, chars.codes)
        return chars._replace(codes=codes).repeat(tf.cast(~dropped, tf.int32))[
            0
        ]


_BUILDERS: dict[type, type] = {
    steps.CharacterMap: _CharacterMap,
    steps.Precompiled: _Precompiled,
    steps.ReplaceText: _ReplaceText,
    steps.ReplaceSpaces: _ReplaceSpaces,
    steps.StripSpaces: _StripSpaces,
    steps.Prepend: _Prepend,
    steps.JoinWords: _JoinWords,
    steps.TrimMarks: _TrimMarks,
}
