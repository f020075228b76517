"""WordPiece in the graph, equal to the published BERT tokenizer.

The same TensorFlow ops run eagerly, in tf.data and in an exported SavedModel,
and stock TF Serving (2.12.1 and later) links all of them: `FastBertNormalize`,
`FastWordpieceTokenizeWithOffsets`, `RegexSplitWithOffsets` (only when special
tokens are read from text) and core ops.

Left to themselves those ops differ from BERT: they apply compatibility case
folding (U+FF21 becomes "a", U+00DF "ss"), turn control characters into spaces,
follow a newer Unicode, and measure long words in bytes. Here the normalizer
gets BERT's own character map (`bert_characters`), characters that the
tokenizer would isolate and BERT does not travel under private-use names, and
words over 100 characters are made unknown afterwards.

Known differences from `transformers.BertTokenizerFast`:
    * Text that spells a special token is split like any text, as in the
      published code, unless the token is named in `special_tokens_in_text`.
    * A vocabulary file with a duplicate or empty line is refused, not read.
    * Two adjacent combining marks that are not nonspacing (for instance U+302E
      before U+1B44) are not put into canonical order when accents are
      stripped. Ids differ only if the vocabulary holds both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers import bert_characters, normalizer_model, vocabulary
from tfllm.tokenizers.special_tokens import SpecialTokens
from tfllm.tokenizers.text_vector import as_vector
from tfllm.tokenizers.word_names import (
    CONTINUATION,
    WordNames,
    is_continuation,
    word_text,
)

MAX_WORD_CHARS = 100
_MAX_CHAR_BYTES = 4


class WordPieceTokenizer(tf.Module):
    """Splits text into the ids of a BERT vocabulary.

    Args:
        vocab: The tokens in the order of their ids.
        lowercase: Whether to lower-case (the uncased models).
        strip_accents: Whether to strip accents; None does what `lowercase`
            does.
        tokenize_chinese_chars: Whether each ideograph is a word.
        special_tokens: The special tokens; each must be in `vocab`.
        special_tokens_in_text: Special tokens that text may spell, such as
            `("[MASK]",)` for filling masks. Leave it empty for text that
            others wrote.

    Raises:
        ValueError: The vocabulary is empty, has an empty or duplicate token,
            or lacks a special token.

    Reference: Devlin et al., 2019; Song et al., 2021 (linear-time WordPiece).
    """

    kind = "wordpiece"

    def __init__(
        self,
        vocab: Sequence[str],
        lowercase: bool = True,
        strip_accents: bool | None = None,
        special_tokens: SpecialTokens | None = None,
        *,
        tokenize_chinese_chars: bool = True,
        special_tokens_in_text: Sequence[str] = (),
    ):
        super().__init__(name="word_piece_tokenizer")
        special_tokens = special_tokens or SpecialTokens()
        vocabulary.check(vocab, special_tokens)
        # Not a list attribute: tf.Module would wrap and track it.
        self._vocab = tuple(vocab)
        self._ids = {token: i for i, token in enumerate(self._vocab)}
        self.lowercase = bool(lowercase)
        self.strip_accents = strip_accents
        self.tokenize_chinese_chars = bool(tokenize_chinese_chars)
        self.special_tokens = special_tokens
        unknown = set(special_tokens_in_text) - set(special_tokens.all())
        if isinstance(special_tokens_in_text, str) or unknown:
            raise ValueError(
                "`special_tokens_in_text` must be a sequence of special "
                f"tokens. Received: {special_tokens_in_text!r}. Choose from "
                f"{', '.join(special_tokens.all())}."
            )
        self.special_tokens_in_text = tuple(special_tokens_in_text)
        self.is_continuation = np.asarray(
            [is_continuation(token) for token in self._vocab]
        )
        specials = set(special_tokens.all())
        self.is_special = np.asarray([t in specials for t in self._vocab])
        with tf.init_scope():
            self._build()

    def _build(self) -> None:
        """Compiles the models and tables of the ops."""
        names = WordNames(
            self._vocab, self.tokenize_chinese_chars, self.special_tokens.unk
        )
        strip = self.strip_accents
        characters = bert_characters.normalization(
            self.lowercase, self.lowercase if strip is None else strip
        )
        model = normalizer_model.build(names.rename(characters))
        self._normalizer = tf_text.FastBertNormalizer(
            model_buffer=tf.constant(np.frombuffer(model, np.uint8))
        )
        self._pieces = tf_text.FastWordpieceTokenizer(
            names.vocab,
            suffix_indicator=CONTINUATION,
            max_bytes_per_word=MAX_WORD_CHARS * _MAX_CHAR_BYTES,
            token_out_type=tf.int32,
            unknown_token=self.special_tokens.unk,
        )
        self._char_counts = tf.constant(
            [
                0 if self.is_special[i] else len(word_text(token))
                for i, token in enumerate(self._vocab)
            ],
            tf.int32,
        )
        self._continues = tf.constant(self.is_continuation)
        self._skips = tf.constant(self.is_special)
        self._spellings = tf.constant(
            [
                word_text(token) if self.is_continuation[i] else f" {token}"
                for i, token in enumerate(self._vocab)
            ]
        )

    # Vocabulary.

    @classmethod
    def from_file(cls, path: str, **overrides: object) -> WordPieceTokenizer:
        """Reads a vocabulary file, or a folder in the Hugging Face layout.

        Args:
            path: A file of one token per line, or a folder with `vocab.txt`
                and, if there, `tokenizer_config.json`. Any tf.io.gfile path.
            **overrides: Arguments of the constructor that replace what the
                folder says.

        Returns:
            The tokenizer.

        Raises:
            ValueError: The path is missing, or does not hold a vocabulary.
        """
        vocab, arguments = vocabulary.read(path)
        return cls(vocab, **{**arguments, **overrides})  # type: ignore

    def save(self, folder: str) -> None:
        """Writes `vocab.txt` and the configuration files beside it.

        Args:
            folder: Is created if missing. `from_file` and the tokenizers of
                Transformers read it.
        """
        vocabulary.write(
            folder,
            self.vocab,
            special_tokens=self.special_tokens,
            lowercase=self.lowercase,
            strip_accents=self.strip_accents,
            tokenize_chinese_chars=self.tokenize_chinese_chars,
        )

    @property
    def vocab(self) -> list[str]:
        """The tokens in the order of their ids."""
        return list(self._vocab)

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self._vocab)

    @property
    def pad_id(self) -> int:
        """The id of the padding token."""
        return self._ids[self.special_tokens.pad]

    @property
    def unk_id(self) -> int:
        """The id of the unknown token."""
        return self._ids[self.special_tokens.unk]

    @property
    def cls_id(self) -> int:
        """The id of the token that opens an input."""
        return self._ids[self.special_tokens.cls]

    @property
    def sep_id(self) -> int:
        """The id of the token that closes a segment."""
        return self._ids[self.special_tokens.sep]

    @property
    def mask_id(self) -> int:
        """The id of the mask token."""
        return self._ids[self.special_tokens.mask]

    @property
    def model_ids(self) -> dict[str, int]:
        """The ids that a model's config records."""
        return {"pad_token_id": self.pad_id}

    def token_to_id(self, token: str) -> int:
        """Returns the id of a token; KeyError if there is none."""
        return self._ids[token]

    def id_to_token(self, token_id: int) -> str:
        """Returns the token of an id; IndexError if there is none."""
        if token_id < 0:
            raise IndexError(f"no token has id {token_id}")
        return self._vocab[token_id]

    def vocab_hash(self) -> str:
        """Returns the hex SHA-256 of the tokens joined by newlines."""
        return hashlib.sha256("\n".join(self._vocab).encode()).hexdigest()

    # Text to ids.

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Splits each text into ids, without adding special tokens.

        Args:
            text: string [N], UTF-8. Invalid bytes are dropped.

        Returns:
            int32 ragged [N, (tokens)].
        """
        text = as_vector(text)
        if self.special_tokens_in_text:
            ids, _, _ = self._split_at_specials(text, with_offsets=False)
            return ids
        return self._tokenize(text)

    def tokenize_with_offsets(
        self, text: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Splits each text into ids and says where each token came from.

        Args:
            text: string [N], UTF-8. Invalid bytes are dropped.

        Returns:
            ids, starts and ends, each int32 ragged [N, (tokens)]. A token was
            read from bytes `start` to `end` (exclusive) of its text as given,
            from its first character to its last one that is kept.
        """
        text = as_vector(text)
        if self.special_tokens_in_text:
            return self._split_at_specials(text, with_offsets=True)
        return self._tokenize_with_offsets(text)

    def _tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        ids = self._pieces.tokenize(self._normalizer.normalize(text))
        (ids,) = self._forget_long_words([ids])
        return ids

    def _tokenize_with_offsets(
        self, text: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        normalized, sources = self._normalizer.normalize_with_offsets(text)
        ids, starts, ends = self._pieces.tokenize_with_offsets(normalized)
        rows = ids.value_rowids()
        # Where each byte of the normalized text came from, flat.
        begins = tf.gather(sources.row_starts(), rows)
        first = tf.gather(sources.flat_values, begins + _int64(starts))
        last = tf.gather(sources.flat_values, begins + _int64(ends) - 1)
        last += _bytes_to_next_char(text, rows, last)
        starts = starts.with_flat_values(tf.cast(first, tf.int32))
        ends = ends.with_flat_values(tf.cast(last, tf.int32))
        ids, starts, ends = self._forget_long_words([ids, starts, ends])
        return ids, starts, ends

    def _forget_long_words(
        self, parts: list[tf.RaggedTensor]
    ) -> list[tf.RaggedTensor]:
        """Makes words of more than 100 characters unknown.

        The op counts bytes, and cannot be told to count characters; the
        lengths of a word's tokens add up to the word's.

        Args:
            parts: ids, or ids, starts and ends.
        """
        ids = parts[0]
        opens = ~tf.gather(self._continues, ids.flat_values)
        firsts = tf.where(opens)[:, 0]
        counts = tf.gather(self._char_counts, ids.flat_values)
        totals = tf.concat([[0], tf.cumsum(counts)], axis=0)
        borders = tf.concat([firsts, tf.size(counts, tf.int64)[None]], 0)
        at_borders = tf.gather(totals, borders)
        long = at_borders[1:] - at_borders[:-1] > MAX_WORD_CHARS
        tensors = [ids.row_splits, *(part.flat_values for part in parts)]

        def shortened() -> list[tf.Tensor]:
            words = tf.cumsum(tf.cast(opens, tf.int64)) - 1
            is_long = tf.gather(long, words)
            keeps = opens | ~is_long
            kept = tf.concat([[0], tf.cumsum(_int64(keeps))], axis=0)
            new = [tf.where(is_long, self.unk_id, ids.flat_values)]
            if len(parts) == 3:
                ends = tf.gather(parts[2].flat_values, borders[1:] - 1)
                new.append(parts[1].flat_values)
                new.append(
                    tf.where(
                        is_long, tf.gather(ends, words), parts[2].flat_values
                    )
                )
            return [
                tf.gather(kept, ids.row_splits),
                *(tf.boolean_mask(tensor, keeps) for tensor in new),
            ]

        splits, *values = tf.cond(
            tf.reduce_any(long), shortened, lambda: tensors
        )
        return [
            tf.RaggedTensor.from_row_splits(value, splits, validate=False)
            for value in values
        ]

    def _split_at_specials(
        self, text: tf.Tensor, with_offsets: bool
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Tokenizes the text between special tokens, and maps those."""
        tokens = self.special_tokens_in_text
        pattern = "|".join(_quoted(token) for token in tokens)
        # RegexSplit ends a text at U+0000; BERT drops U+0001 just the same.
        text = tf.strings.regex_replace(text, r"\x00", "\x01")
        pieces, begins, _ = tf_text.regex_split_with_offsets(
            text, pattern, keep_delim_regex_pattern=pattern
        )
        flat = pieces.flat_values
        special = tf.fill(tf.shape(flat), -1)
        for token in tokens:
            special = tf.where(flat == token, self._ids[token], special)
        if with_offsets:
            parts = list(self._tokenize_with_offsets(flat))
        else:
            parts = [self._tokenize(flat)]
        whole = [special, tf.zeros_like(special), tf.strings.length(flat)]
        is_special = special >= 0
        # A special piece becomes a row of one token; other rows stay.
        merged = [
            pieces.with_flat_values(_replace_rows(part, is_special, single))
            for part, single in zip(parts, whole, strict=False)
        ]
        ids = merged[0].merge_dims(1, 2)
        if not with_offsets:
            return ids, ids, ids
        starts, ends = (
            (part + tf.cast(begins, tf.int32)[..., None]).merge_dims(1, 2)
            for part in merged[1:]
        )
        return ids, starts, ends

    # Ids to text.

    def detokenize(
        self,
        ids: tf.Tensor | tf.RaggedTensor,
        skip_special_tokens: bool = False,
    ) -> tf.Tensor:
        """Joins tokens into text, words separated by one space.

        Args:
            ids: int [N, (tokens)], ragged or dense.
            skip_special_tokens: Whether to leave special tokens out.

        Returns:
            string [N]. Lower-cased letters, lost accents and the white space
            around punctuation do not come back.
        """
        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        if skip_special_tokens:
            keep = ~tf.gather(self._skips, ids.flat_values)
            ids = tf.ragged.boolean_mask(ids, ids.with_flat_values(keep))
        spelled = ids.with_flat_values(
            tf.gather(self._spellings, ids.flat_values)
        )
        joined = tf.strings.reduce_join(spelled, axis=-1)
        first = ids[:, :1]
        opens = tf.gather(self._continues, first.flat_values)
        marks = tf.where(opens, CONTINUATION, "")
        prefix = tf.strings.reduce_join(first.with_flat_values(marks), axis=-1)
        return tf.strings.join(
            [prefix, tf.strings.regex_replace(joined, "^ ", "")]
        )


def _quoted(text: str) -> str:
    """Quotes a literal for RE2."""
    return "".join(c if c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def _int64(value: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    flat = value.flat_values if isinstance(value, tf.RaggedTensor) else value
    return tf.cast(flat, tf.int64)


def _replace_rows(
    part: tf.RaggedTensor, replaced: tf.Tensor, value: tf.Tensor
) -> tf.RaggedTensor:
    """Puts a row of one value in the place of some rows."""
    keep = tf.gather(~replaced, part.value_rowids())
    kept = tf.ragged.boolean_mask(part, part.with_flat_values(keep))
    single = tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(value, replaced), _int64(replaced)
    )
    return tf.concat([kept, single], axis=1)


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
