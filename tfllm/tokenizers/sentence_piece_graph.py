"""SentencePiece in the graph: normalizing and segmenting, with places in bytes.

Stock TF Serving links all of the ops: `SentencepieceOp` and its tokenizing
ops, `TFText>FastSentencepieceTokenize`, and core ops.

What the ops do right was found by running them against the `sentencepiece`
package:

* `SentencepieceTokenizer` is exact for BPE, byte fallback and user-defined
  symbols included, and its normalizer is exact for every model.
* For unigram it is not: it adds up scores in another order than the package
  since 0.1.97, and so cuts runs of one character at other places.
* `FastSentencepieceTokenizer` adds up as the package does, but knows neither
  byte fallback nor all normalizers, and charges unknown characters by bytes.

So unigram takes the normalizer of the first and the scores of the second (see
`sentence_piece_model`).

Places: of each token its first byte in the text and the byte behind its last,
as `sentencepiece` gives them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers import sentence_piece_model as models
from tfllm.tokenizers.sentence_piece_model import SPACE, Model


class Pieces(NamedTuple):
    """Pieces of texts.

    Attributes:
        ids: int32 ragged [N, (tokens)].
        lengths: int32 [tokens]. Bytes of each in the normalized text.
    """

    ids: tf.RaggedTensor
    lengths: tf.Tensor


class Normalized(NamedTuple):
    """Normalized texts.

    Attributes:
        text: string [N].
        starts: int32 ragged [N, (bytes)]. Where each byte came from.
        ends: int32 ragged [N, (bytes)]. Where what it came from ends.
    """

    text: tf.Tensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


class PieceOp(tf.Module):
    """The SentencePiece op of a model.

    NOTE: in a SavedModel, ops of one name share one model; hence the name.

    Args:
        model: A serialized ModelProto.
    """

    def __init__(self, model: bytes):
        super().__init__(name="piece_op")
        self._model = model
        self._op_name = f"pieces_{hashlib.sha256(model).hexdigest()[:16]}"
        self._op = self._load()

    def _load(self) -> tf_text.SentencepieceTokenizer:
        return tf_text.SentencepieceTokenizer(
            self._model, out_type=tf.int32, name=self._op_name
        )

    def live(self) -> tf_text.SentencepieceTokenizer:
        """Returns the op's tokenizer, loaded again if its model is gone.

        NOTE: the model belongs to a kernel in TensorFlow's cache of kernels,
        which `tf.random.set_seed`, and so Keras' own, clears.
        """
        with tf.init_scope():
            if tf.executing_eagerly():
                try:
                    self._op.tokenize([""])
                except tf.errors.NotFoundError:
                    self._op = self._load()
        return self._op


class Normalizer(tf.Module):
    """Normalizes texts as a model says.

    Args:
        model: The ModelProto.
    """

    def __init__(self, model: Model):
        super().__init__(name="normalizer")
        content, spelled = models.normalizer(model)
        self._op = PieceOp(content)
        self._spelled = tf.constant(spelled)
        self._lengths = tf.constant([len(s) for s in spelled], tf.int32)

    def normalize(self, text: tf.Tensor) -> tf.Tensor:
        """Returns normalized texts, string [N]."""
        return self._join(self._op.live().tokenize(text))

    def normalize_with_places(self, text: tf.Tensor) -> Normalized:
        """Returns normalized texts, and the place of each of their bytes."""
        ids, starts, ends = self._op.live().tokenize_with_offsets(text)
        # One id is one byte, or a symbol of several. [tokens] -> [bytes]
        counts = tf.gather(self._lengths, ids.flat_values)
        borders = tf.concat([[0], tf.cumsum(tf.cast(counts, tf.int64))], 0)
        splits = tf.gather(borders, ids.row_splits)

        def of_bytes(places: tf.RaggedTensor) -> tf.RaggedTensor:
            repeated = tf.repeat(tf.cast(places.flat_values, tf.int32), counts)
            return tf.RaggedTensor.from_row_splits(
                repeated, splits, validate=False
            )

        return Normalized(self._join(ids), of_bytes(starts), of_bytes(ends))

    def _join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        spelled = ids.with_flat_values(
            tf.gather(self._spelled, ids.flat_values)
        )
        return tf.strings.reduce_join(spelled, axis=-1)


class BPESegmenter(tf.Module):
    """Merges the characters of normalized texts.

    Args:
        model: The ModelProto; its normalizer does not count.
    """

    def __init__(self, model: Model):
        super().__init__(name="bpe_segmenter")
        lengths = [len(piece.piece.encode()) for piece in model.pieces]
        for number in models.of_type(model, "BYTE"):
            lengths[number] = 1
        plain = models.without_normalizer(model)
        self._op = PieceOp(plain.SerializeToString())
        self._lengths = tf.constant(lengths, tf.int32)
        self._unknown = models.unknown_id(model)

    def segment(self, text: tf.Tensor) -> Pieces:
        """Cuts normalized texts, string [N], into pieces."""
        ids, starts, ends = self._op.live().tokenize_with_offsets(text)
        spans = tf.cast(ends.flat_values - starts.flat_values, tf.int32)
        known = tf.gather(self._lengths, ids.flat_values)
        is_unknown = ids.flat_values == self._unknown
        return Pieces(ids, tf.where(is_unknown, spans, known))


class UnigramSegmenter(tf.Module):
    """Cuts normalized texts into the pieces of the highest score.

    Args:
        model: The ModelProto; its normalizer does not count.
    """

    def __init__(self, model: Model):
        super().__init__(name="unigram_segmenter")
        content, extra = models.unigram_segmenter(model)
        self._op = tf_text.FastSentencepieceTokenizer(content)
        pieces = [piece.piece for piece in model.pieces]
        self._char_counts = tf.constant(
            [*map(len, pieces), *(1 for _ in extra)], tf.int32
        )
        self._alphabet = tf.constant(
            [ord(char) for char in models.alphabet(model)], tf.int32
        )
        self._num_pieces = len(pieces)
        self._unknown = models.unknown_id(model)
        byte_ids = {p.piece: i for i, p in enumerate(model.pieces)}
        self._bytes = None
        if model.trainer_spec.byte_fallback:
            self._bytes = tf.constant(
                [byte_ids[models.byte_piece(b)] for b in range(256)], tf.int32
            )

    def segment(self, text: tf.Tensor) -> Pieces:
        """Cuts normalized texts, string [N], into pieces."""
        chars = tf.strings.unicode_decode(text, "UTF-8")  # [N, (characters)]
        codes = chars.flat_values
        place = tf.searchsorted(self._alphabet, codes)
        place = tf.minimum(place, tf.size(self._alphabet) - 1)
        known = tf.gather(self._alphabet, place) == codes
        shown = tf.where(known, codes, ord(models.ABSENT))
        ids = self._op.tokenize(
            tf.strings.unicode_encode(chars.with_flat_values(shown), "UTF-8")
        )
        counts = tf.gather(self._char_counts, ids.flat_values)
        last = tf.cumsum(counts)
        borders = tf.concat([[0], tf.cumsum(utf8_sizes(codes))], 0)
        lengths = tf.gather(borders, last) - tf.gather(borders, last - counts)
        if self._bytes is None:
            return self._merge_unknown(ids, lengths)
        return self._spell_unknown(text, ids, lengths)

    def _merge_unknown(
        self, ids: tf.RaggedTensor, lengths: tf.Tensor
    ) -> Pieces:
        """Makes one unknown piece of neighbours."""
        flat, rows = ids.flat_values, ids.value_rowids()
        unknown = flat >= self._num_pieces
        # [tokens]: whether the one before is unknown too.
        joins = unknown[1:] & unknown[:-1] & (rows[1:] == rows[:-1])
        opens = tf.concat([tf.ones_like(unknown[:1]), ~joins], 0)
        number = tf.cumsum(tf.cast(opens, tf.int32)) - 1
        kept = tf.concat([[0], tf.cumsum(tf.cast(opens, tf.int64))], 0)
        flat = tf.where(unknown, self._unknown, flat)
        merged = tf.RaggedTensor.from_row_splits(
            tf.boolean_mask(flat, opens),
            tf.gather(kept, ids.row_splits),
            validate=False,
        )
        return Pieces(merged, tf.math.segment_sum(lengths, number))

    def _spell_unknown(
        self, text: tf.Tensor, ids: tf.RaggedTensor, lengths: tf.Tensor
    ) -> Pieces:
        """Puts bytes in the place of unknown characters."""
        flat = ids.flat_values
        unknown = flat >= self._num_pieces
        counts = tf.where(unknown, lengths, 1)
        ends = tf.cumsum(counts)
        # [tokens] -> [tokens with bytes]
        number = tf.repeat(tf.range(tf.size(flat)), counts)
        inside = tf.range(tf.size(number)) - tf.gather(ends - counts, number)
        starts = tf.cumsum(lengths) - lengths
        content = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
        byte = tf.gather(content, tf.gather(starts, number) + inside)
        is_byte = tf.gather(unknown, number)
        spelled = tf.gather(self._bytes, tf.cast(byte, tf.int32))
        kept = tf.concat([[0], tf.cumsum(tf.cast(counts, tf.int64))], 0)
        return Pieces(
            tf.RaggedTensor.from_row_splits(
                tf.where(is_byte, spelled, tf.gather(flat, number)),
                tf.gather(kept, ids.row_splits),
                validate=False,
            ),
            tf.where(is_byte, 1, tf.gather(lengths, number)),
        )


class RunOrder(tf.Module):
    """Orders neighbours whose order does not change the text: shortest first.

    The scores of "==" and "=" add up to the same in both orders but for
    rounding. The `tokenizers` package adds up in float64, where there is none,
    and of equal sums keeps the one whose last piece is the longest.

    Args:
        vocab: The tokens in the order of their ids.
    """

    def __init__(self, vocab: Sequence[str]):
        super().__init__(name="run_order")
        # Two texts commute if both repeat the same text.
        repeated = [text[: (text + text).find(text, 1)] for text in vocab]
        numbers = {text: i for i, text in enumerate(dict.fromkeys(repeated))}
        self._roots = tf.constant([numbers[t] for t in repeated], tf.int32)

    def order(self, pieces: Pieces) -> Pieces:
        """Returns pieces in that order."""
        flat = pieces.ids.flat_values
        roots, rows = tf.gather(self._roots, flat), pieces.ids.value_rowids()
        # [tokens - 1]
        joins = (roots[1:] == roots[:-1]) & (rows[1:] == rows[:-1])
        falls = pieces.lengths[1:] < pieces.lengths[:-1]

        def ordered() -> Pieces:
            opens = tf.concat([tf.ones_like(joins[:1]), ~joins], 0)
            run = tf.cumsum(tf.cast(opens, tf.int64))
            length = tf.cast(pieces.lengths, tf.int64)
            place = tf.argsort(run * (1 << 31) + length)
            return Pieces(
                pieces.ids.with_flat_values(tf.gather(flat, place)),
                tf.gather(pieces.lengths, place),
            )

        return tf.cond(tf.reduce_any(joins & falls), ordered, lambda: pieces)


def places_of(
    pieces: Pieces, normalized: Normalized
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Returns where pieces came from: starts and ends, as their ids."""
    last = tf.cumsum(pieces.lengths)
    starts = tf.gather(normalized.starts.flat_values, last - pieces.lengths)
    ends = tf.gather(normalized.ends.flat_values, last - 1)
    ids = pieces.ids
    return ids.with_flat_values(starts), ids.with_flat_values(ends)


def words_of(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits normalized texts before each "▁".

    Args:
        text: string [N].

    Returns:
        string [W], the words of all texts, and int64 [N + 1], where those of
        each text begin and end.
    """
    # The op ends a text at U+0000; U+0001 is split just the same.
    safe = tf.strings.regex_replace(text, r"\x00", "\x01")
    pattern = f"{SPACE}[^{SPACE}]*"
    words, begins, ends = tf_text.regex_split_with_offsets(
        safe, pattern, keep_delim_regex_pattern=pattern
    )
    first = tf.cast(begins.flat_values, tf.int32)
    sizes = tf.cast(ends.flat_values, tf.int32) - first
    rows = words.value_rowids()
    flat = tf.strings.substr(tf.gather(text, rows), first, sizes)
    return flat, tf.cast(words.row_splits, tf.int64)


def to_texts(ids: tf.RaggedTensor, splits: tf.Tensor) -> tf.RaggedTensor:
    """Joins the ids of words, [W, (tokens)], to those of texts."""
    return tf.RaggedTensor.from_row_splits(
        ids.flat_values, tf.gather(ids.row_splits, splits), validate=False
    )


def reach_characters(
    text: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Returns ends that lie behind the character where a token starts.

    The `tokenizers` package gives each byte of a character, and a "▁" that
    was put before it, the place of the character.

    Args:
        text: string [N].
        starts: int32 ragged [N, (tokens)], in bytes.
        ends: As `starts`.
    """
    sizes = tf.cast(tf.strings.length(text), tf.int32)
    begins = tf.gather(tf.cumsum(sizes, exclusive=True), starts.value_rowids())
    content = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
    byte = tf.gather(content, begins + starts.flat_values)
    size = 1 + tf.add_n(
        [tf.cast(byte >= least, tf.int32) for least in (0xC0, 0xE0, 0xF0)]
    )
    reached = tf.maximum(ends.flat_values, starts.flat_values + size)
    return ends.with_flat_values(reached)


def share_runs(
    is_byte: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Returns places in which all bytes of a run have the place of the run.

    Args:
        is_byte: bool [tokens].
        starts: int32 ragged [N, (tokens)].
        ends: As `starts`.
    """
    rows = starts.value_rowids()
    joins = is_byte[1:] & is_byte[:-1] & (rows[1:] == rows[:-1])
    opens = tf.concat([tf.ones_like(is_byte[:1]), ~joins], 0)
    run = tf.cumsum(tf.cast(opens, tf.int32)) - 1
    first = tf.math.segment_min(starts.flat_values, run)
    last = tf.math.segment_max(ends.flat_values, run)
    return (
        starts.with_flat_values(tf.gather(first, run)),
        ends.with_flat_values(tf.gather(last, run)),
    )


def utf8_sizes(codes: tf.Tensor) -> tf.Tensor:
    """Returns how many bytes code points have, int32."""
    return 1 + tf.add_n(
        [tf.cast(codes >= least, tf.int32) for least in (0x80, 0x800, 0x10000)]
    )
