"""Byte-level BPE in the graph, equal to the published GPT-2 tokenizer.

The same TensorFlow ops run eagerly, in tf.data and in an exported SavedModel,
and stock TF Serving links all of them: `RegexSplitWithOffsets`, the
SentencePiece ops and core ops. Nothing is cached between calls, so memory does
not grow with the words seen.

A text is split into words by GPT-2's pattern, each byte becomes the printable
character that stands for it in the vocabulary, and the SentencePiece op merges
(see `byte_pair_model`).
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import types
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers import byte_pair_files, byte_pair_model
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.text_vector import as_vector

logger = logging.getLogger(__name__)

END_OF_TEXT = "<|endoftext|>"

# Tokens that a warning names.
_NAMED = 5

# The characters that the published pattern takes for white space: RE2's \s
# knows those of ASCII only.
_SPACES = (
    r"\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}"
    r"\x{205f}\x{3000}"
)
# Letters and digits of Unicode 15.1 and 16, which RE2 here does not know yet.
_LETTERS = (
    r"\p{L}\x{1c89}\x{1c8a}\x{a7cb}-\x{a7cd}\x{a7da}-\x{a7dc}"
    r"\x{105c0}-\x{105f3}\x{10d4a}-\x{10d65}\x{10d6f}-\x{10d85}"
    r"\x{10ec2}-\x{10ec4}\x{11380}-\x{11389}\x{1138b}\x{1138e}"
    r"\x{11390}-\x{113b5}\x{113b7}\x{113d1}\x{113d3}\x{11bc0}-\x{11be0}"
    r"\x{13460}-\x{143fa}\x{16100}-\x{1611d}\x{16d40}-\x{16d6c}\x{18cff}"
    r"\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2ebf0}-\x{2ee5d}"
)
_DIGITS = (
    r"\p{N}\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}"
    r"\x{16130}-\x{16139}\x{16d70}-\x{16d79}\x{1ccf0}-\x{1ccf9}"
    r"\x{1e5f1}-\x{1e5fa}"
)
# NOTE: the published pattern ends in `\s+(?!\S)|\s+`. RE2 cannot look ahead,
# so white space is split into single characters here, and joined afterwards.
_WORDS = (
    "'s|'t|'re|'ve|'m|'ll|'d"
    f"| ?[{_LETTERS}]+| ?[{_DIGITS}]+| ?[^{_SPACES}{_LETTERS}{_DIGITS}]+"
    f"|[{_SPACES}]"
)


class ByteBPETokenizer(tf.Module):
    """Splits text into the ids of a byte-level BPE vocabulary.

    Args:
        vocab: The tokens in the order of their ids, spelled with the
            printable characters that stand for bytes.
        merges: Pairs of tokens, in the order of their ranks.
        bos_token: Token that opens a text, or None. None of these comes out
            of text, whatever it spells.
        eos_token: Token that ends a text, or None.
        pad_token: Token to pad with; None means `eos_token`.
        add_prefix_space: Put a space before a text that has none.

    Raises:
        ValueError: The construction cannot hold the vocabulary; see
            `byte_pair_model.check`.

    Reference: Radford et al., 2019, section 2.2.
    """

    kind = "byte_bpe"

    def __init__(
        self,
        vocab: Sequence[str],
        merges: Sequence[Merge],
        *,
        bos_token: str | None = None,
        eos_token: str | None = None,
        pad_token: str | None = None,
        add_prefix_space: bool = False,
        source: str = "`vocab`",
    ):
        super().__init__(name="byte_bpe_tokenizer")
        byte_pair_model.check(vocab, merges, source)
        # Not lists and dicts: tf.Module would wrap and track them.
        self._vocab = tuple(vocab)
        self._merges = tuple((left, right) for left, right in merges)
        self._ids = types.MappingProxyType(
            {token: i for i, token in enumerate(self._vocab)}
        )
        self.bos_token, self.eos_token = bos_token, eos_token
        self.pad_token = pad_token
        self.add_prefix_space = bool(add_prefix_space)
        for token in (bos_token, eos_token, pad_token):
            if token is not None and token not in self._ids:
                raise ValueError(
                    "special tokens must be in the vocabulary. Received: "
                    f"{token!r}. Add it, or name another."
                )
        spelled = byte_pair_model.token_bytes(self._vocab)
        self._token_bytes = tuple(spelled)
        with tf.init_scope():
            self._symbols = tf.constant(
                [ord(s) for s in byte_pair_model.byte_symbols()], tf.int32
            )
            self._spellings = tf.constant(spelled)
            self._lengths = tf.constant([len(s) for s in spelled], tf.int32)
            special = self.special_ids
            self._skips = tf.constant(
                [i in special for i in range(len(self._vocab))]
            )
            self._pieces = self._load_pieces()

    # Vocabulary.

    @classmethod
    def from_file(cls, path: str, **overrides: object) -> ByteBPETokenizer:
        """Reads a tokenizer folder, a tokenizer.json or a vocab.json.

        NOTE: `tokenizers` reads an added token as one id wherever a text
        spells it; here no text gives it, and a warning names it.

        Args:
            path: Any tf.io.gfile path; see `byte_pair_files.read`.
            **overrides: Arguments of the constructor that replace what the
                folder says.

        Raises:
            ValueError: The path is missing, or does not hold a vocabulary
                that the construction can hold.
        """
        vocab, merges, arguments = byte_pair_files.read(path)
        if END_OF_TEXT in vocab:
            # What Transformers assumes where the files are silent.
            for role in ("bos_token", "eos_token"):
                arguments.setdefault(role, END_OF_TEXT)
        tokenizer = cls(
            vocab,
            merges,
            **{"source": repr(str(path)), **arguments, **overrides},  # type: ignore
        )
        silent = tokenizer.tokens_of_no_text
        if silent:
            logger.warning(
                "%s: no text gives %s%s: neither a byte nor a merge. A text "
                "that spells one is read as other tokens.",
                path,
                ", ".join(map(repr, silent[:_NAMED])),
                f" and {len(silent) - _NAMED} more"
                if len(silent) > _NAMED
                else "",
            )
        return tokenizer

    def save(self, folder: str) -> None:
        """Writes vocab.json, merges.txt, tokenizer.json and their config.

        Args:
            folder: Is created if missing. `from_file` and the tokenizers of
                Transformers read it.
        """
        byte_pair_files.write(
            folder,
            self._vocab,
            self._merges,
            roles={
                "bos_token": self.bos_token,
                "eos_token": self.eos_token,
                "pad_token": self.pad_token,
            },
            add_prefix_space=self.add_prefix_space,
        )

    @property
    def vocab(self) -> list[str]:
        """The tokens in the order of their ids."""
        return list(self._vocab)

    @property
    def merges(self) -> list[Merge]:
        """The merges in the order of their ranks."""
        return list(self._merges)

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes of each token, in the order of their ids."""
        return self._token_bytes

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self._vocab)

    @property
    def bos_id(self) -> int | None:
        """The id of the token that opens a text, or None."""
        return None if self.bos_token is None else self._ids[self.bos_token]

    @property
    def eos_id(self) -> int | None:
        """The id of the token that ends a text, or None."""
        return None if self.eos_token is None else self._ids[self.eos_token]

    @property
    def pad_id(self) -> int:
        """The id to pad with: that of `eos_token`, or 0, if none is set."""
        if self.pad_token is not None:
            return self._ids[self.pad_token]
        return self.eos_id or 0

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of special tokens, which texts can be shown without."""
        tokens = (self.bos_token, self.eos_token, self.pad_token)
        return frozenset(self._ids[t] for t in tokens if t is not None)

    @property
    def tokens_of_no_text(self) -> list[str]:
        """The tokens that no text gives, but for the special ones."""
        made = {left + right for left, right in self._merges}
        made.update(byte_pair_model.byte_symbols())
        special = (self.bos_token, self.eos_token, self.pad_token)
        return [t for t in self._vocab if t not in made and t not in special]

    @property
    def model_ids(self) -> dict[str, int | None]:
        """The ids that a model's config records."""
        return {
            "bos_token_id": self.bos_id,
            "eos_token_id": self.eos_id,
            "pad_token_id": self.pad_id,
        }

    def token_to_id(self, token: str) -> int:
        """Returns the id of a token; KeyError if there is none."""
        return self._ids[token]

    def id_to_token(self, token_id: int) -> str:
        """Returns the token of an id; IndexError if there is none."""
        if token_id < 0:
            raise IndexError(f"no token has id {token_id}")
        return self._vocab[token_id]

    def vocab_hash(self) -> str:
        """Returns the hex SHA-256 of what decides the ids."""
        lines = [
            *self._vocab,
            *itertools.chain.from_iterable(self._merges),
            str(self.eos_token),
            str(self.add_prefix_space),
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    # Text to ids.

    def _load_pieces(self) -> tf_text.SentencepieceTokenizer:
        return tf_text.SentencepieceTokenizer(
            model=byte_pair_model.build(self._vocab, self._merges),
            out_type=tf.int32,
        )

    def _live_pieces(self) -> tf_text.SentencepieceTokenizer:
        """Returns the SentencePiece tokenizer, loaded again if it is gone.

        NOTE: its model belongs to a kernel in TensorFlow's cache of kernels,
        which `tf.random.set_seed`, and so Keras' own, clears.
        """
        with tf.init_scope():
            if tf.executing_eagerly():
                try:
                    self._pieces.tokenize([""])
                except tf.errors.NotFoundError:
                    self._pieces = self._load_pieces()
        return self._pieces

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Splits each text into ids, without adding special tokens.

        Args:
            text: string [N]. Any bytes; those that are not UTF-8 are words
                of their own.

        Returns:
            int32 ragged [N, (tokens)].
        """
        text = as_vector(text)
        if self.add_prefix_space:
            opens = tf.strings.substr(text, 0, 1)
            add = tf.logical_and(opens != " ", opens != "")
            text = tf.strings.join([tf.where(add, " ", ""), text])
        words, splits = self._words(text)
        ids = self._live_pieces().tokenize(words)
        # Tokens of a text: those of its words.
        return tf.RaggedTensor.from_row_splits(
            ids.flat_values, tf.gather(ids.row_splits, splits), validate=False
        )

    def tokenize_with_offsets(
        self, text: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Splits each text into ids and says where each token came from.

        Args:
            text: string [N].

        Returns:
            ids, starts and ends, each int32 ragged [N, (tokens)]: a token is
            bytes `start` to `end` (exclusive) of its text. A space that was
            added before it has no place: the first token begins at 0.
        """
        ids = self.tokenize(text)
        lengths = tf.gather(self._lengths, ids.flat_values)
        totals = tf.cumsum(lengths)
        before = tf.concat([[0], totals], 0)
        begins = tf.gather(before, ids.row_starts())
        begins = tf.gather(begins, ids.value_rowids())
        ends = totals - begins
        starts = ends - lengths
        if self.add_prefix_space:
            spelled = tf.math.segment_sum(lengths, ids.value_rowids())
            size = tf.strings.length(text)[: tf.shape(spelled)[0]]
            added = tf.gather(tf.maximum(spelled - size, 0), ids.value_rowids())
            starts = tf.maximum(starts - added, 0)
            ends = tf.maximum(ends - added, 0)
        return ids, ids.with_flat_values(starts), ids.with_flat_values(ends)

    def _words(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Splits texts into words, spelled with one character per byte.

        Args:
            text: string [N].

        Returns:
            string [W], the words of all texts, and int64 [N + 1], where the
            words of each text begin and end.
        """
        # The op ends a text at U+0000; U+0001 is split just the same.
        safe = tf.strings.regex_replace(text, r"\x00", "\x01")
        pieces, begins, ends = tf_text.regex_split_with_offsets(
            safe, _WORDS, keep_delim_regex_pattern=_WORDS
        )
        flat = pieces.flat_values
        splits = tf.cast(pieces.row_splits, tf.int64)
        blank = tf.strings.regex_full_match(flat, f"[{_SPACES}]")
        count = tf.size(flat, tf.int64)
        number = tf.range(count)
        rows = pieces.value_rowids()
        first = number == tf.gather(splits, rows)
        last = number + 1 == tf.gather(splits, rows + 1)
        # White space joins that before it, unless it is the last of its run
        # and no space, which would belong to the word that follows.
        spaced = blank | (tf.strings.substr(flat, 0, 1) == " ")
        before = tf.concat([[False], blank[:-1]], 0)[: tf.size(blank)]
        after = tf.concat([spaced[1:], [False]], 0)[: tf.size(blank)]
        joins = blank & before & ~first & (after | last)
        opens = ~joins
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
        words = tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_splits(symbols, borders, validate=False),
            "UTF-8",
        )
        return words, tf.gather(kept, splits)

    # Ids to text.

    def detokenize(
        self,
        ids: tf.Tensor | tf.RaggedTensor,
        skip_special_tokens: bool = False,
        replace_invalid: bool = False,
    ) -> tf.Tensor:
        """Joins the bytes of tokens.

        Args:
            ids: int [N, (tokens)], ragged or dense.
            skip_special_tokens: Whether to leave special tokens out.
            replace_invalid: Whether to put U+FFFD in the place of bytes that
                are not UTF-8, which any cut between tokens may leave.

        Returns:
            string [N].
        """
        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        if skip_special_tokens:
            keep = ~tf.gather(self._skips, ids.flat_values)
            ids = tf.ragged.boolean_mask(ids, ids.with_flat_values(keep))
        spelled = tf.gather(self._spellings, ids.flat_values)
        text = tf.strings.reduce_join(ids.with_flat_values(spelled), axis=-1)
        if replace_invalid:
            text = tf.strings.unicode_transcode(
                text, "UTF-8", "UTF-8", errors="replace"
            )
        return text
