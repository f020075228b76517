"""WordPiece in the graph, equal to the published BERT tokenizer.

The same TensorFlow ops run eagerly, in tf.data and in an exported SavedModel,
and stock TF Serving (2.12.1 and later) links all of them: `FastBertNormalize`,
`FastWordpieceTokenizeWithOffsets`, `RegexSplitWithOffsets` (only when added or
special tokens are read from text) and core ops.

Left to themselves those ops differ from BERT: they apply compatibility case
folding (U+FF21 becomes "a", U+00DF "ss"), turn control characters into spaces,
follow a newer Unicode, and measure long words in bytes. Here the normalizer
gets BERT's own character map (`bert_characters`), characters that the
tokenizer would isolate and BERT does not travel under private-use names, and
words that are too long are made unknown afterwards.

Known differences from `transformers.BertTokenizerFast`:
    * Text that spells a special token is split like any text, as in the
      published code, unless the token is named in `special_tokens_in_text`.
    * An added token that takes white space (`lstrip`, `rstrip`) has no part
      of the spaces that set an ideograph apart: its offsets may differ.
    * `detokenize` spells an added token as its file does, also where it is
      matched in the normalized text.
    * A vocabulary file with a duplicate or empty line is refused, not read.
    * Two adjacent combining marks that are not nonspacing (for instance U+302E
      before U+1B44) are not put into canonical order when accents are
      stripped. Ids differ only if the vocabulary holds both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers import (
    bert_characters,
    vocabulary,
    wordpiece_files,
)
from tfllm.tokenizers.bert_text import BertText, spelled
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import (
    BERT_TOKENS,
    AddedToken,
    SpecialTokens,
)
from tfllm.tokenizers.text_tokenizer import Tokenizer
from tfllm.tokenizers.word_names import (
    CONTINUATION,
    WordNames,
    is_continuation,
    word_text,
)

_MAX_CHAR_BYTES = 4


class WordPieceTokenizer(Tokenizer):
    """Splits text into the ids of a BERT vocabulary.

    Bytes that are not UTF-8 are dropped. A token comes from its first
    character to the last one that is kept. In text from ids, words are
    separated by one space, and punctuation that ends a clause follows its
    word; lower-cased letters, lost accents and other white space do not come
    back.

    Args:
        vocab: The tokens of the model in the order of their ids.
        lowercase: Whether to lower-case (the uncased models).
        strip_accents: Whether to strip accents; None does what `lowercase`
            does.
        special_tokens: The special tokens; each must be in `vocab`.
        tokenize_chinese_chars: Whether each ideograph is a word.
        special_tokens_in_text: Special tokens that text may spell, such as
            `("[MASK]",)` for filling masks. Leave it empty for text that
            others wrote.
        added_tokens: Tokens that are matched whole; those that `vocab` lacks
            get the ids behind it, in this order.
        max_word_chars: Characters of the longest word that is split; a longer
            one is unknown.
        clean_up: Whether `detokenize` takes the space before punctuation.
        template: The rows of the model; None: BERT's.

    Raises:
        ValueError: The vocabulary is empty, has an empty or duplicate token,
            or lacks a special token.

    Reference: Devlin et al., 2019; Song et al., 2021 (linear-time WordPiece).
    """

    kind = "wordpiece"
    keeps_spaces = False
    default_template = wordpiece_files.BERT_ROWS

    def __init__(
        self,
        vocab: Sequence[str],
        lowercase: bool = True,
        strip_accents: bool | None = None,
        special_tokens: SpecialTokens | None = None,
        *,
        tokenize_chinese_chars: bool = True,
        special_tokens_in_text: Sequence[str] = (),
        added_tokens: Sequence[AddedToken] = (),
        max_word_chars: int = 100,
        clean_up: bool = True,
        template: RowTemplate[str] | None = None,
    ):
        special_tokens = special_tokens or BERT_TOKENS
        known = set(vocab)
        more = [t.content for t in added_tokens if t.content not in known]
        vocabulary.check([*vocab, *more], special_tokens)
        super().__init__(
            vocab,
            special_tokens,
            added_tokens=added_tokens,
            special_tokens_in_text=special_tokens_in_text,
            template=template,
        )
        self.lowercase = bool(lowercase)
        self.strip_accents = strip_accents
        self.tokenize_chinese_chars = bool(tokenize_chinese_chars)
        self.max_word_chars = max_word_chars
        self.clean_up = clean_up
        self._unk = self.role_id("unk")
        self._continuation = np.asarray(
            [is_continuation(token) for token in self._vocab]
        )
        with tf.init_scope():
            self._build()

    def _build(self) -> None:
        """Compiles the models and tables of the ops."""
        lower, strip = bool(self.lowercase), self.strip_accents
        characters = bert_characters.normalization(
            lower, lower if strip is None else strip
        )
        normalized = [t.content for t in self._matched if t.normalized]
        if normalized:
            # A token may have a space where the text has a tab.
            characters |= dict.fromkeys(bert_characters.spaces(), " ")
        names = WordNames(
            self.model_vocab,
            self.tokenize_chinese_chars,
            self._vocab[self._unk],
            len(self._vocab) - self._num_model_tokens,
            spelled("".join(normalized), characters),
        )
        mapping = names.rename(characters)
        characters = {chr(code): text for code, text in mapping.items()}
        self._text = BertText(characters, self._matched, self._ids)
        self._pieces = tf_text.FastWordpieceTokenizer(
            names.vocab,
            suffix_indicator=CONTINUATION,
            max_bytes_per_word=self.max_word_chars * _MAX_CHAR_BYTES,
            token_out_type=tf.int32,
            unknown_token=self._vocab[self._unk],
        )
        self._char_counts = tf.constant(
            [
                0 if self.is_special[i] else len(word_text(token))
                for i, token in enumerate(self._vocab)
            ],
            tf.int32,
        )
        self._continues = tf.constant(self._continuation)
        self._spellings = tf.constant(
            [
                _cleaned_up(text) if self.clean_up else text
                for text in (
                    word_text(token) if self._continuation[i] else f" {token}"
                    for i, token in enumerate(self._vocab)
                )
            ]
        )

    # Vocabulary.

    @classmethod
    def from_file(
        cls, path: str, spec: TokenizerSpec | None = None, **overrides: Any
    ) -> Self:
        """Reads a vocab.txt, a tokenizer.json, or a folder with one."""
        vocab, arguments = wordpiece_files.read(path, spec, **overrides)
        return cls(vocab, **arguments)

    def save(self, folder: str, spec: TokenizerSpec | None = None) -> None:
        """Writes vocab.txt, tokenizer.json and tokenizer_config.json."""
        wordpiece_files.write(folder, self, spec)

    @property
    def is_continuation(self) -> np.ndarray:
        """The tokens that continue a word, bool [V]."""
        return self._continuation

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """What each token adds to a text, in the order of their ids."""
        return tuple(
            word_text(token).encode() if continues else f" {token}".encode()
            for token, continues in zip(
                self._vocab, self._continuation, strict=True
            )
        )

    @property
    def model_ids(self) -> dict[str, int | None]:
        """The ids that a model's config records."""
        return {"pad_token_id": self.pad_id}

    def token_text(self, token_id: int) -> str:
        """Returns a token as it is spelled."""
        return self._vocab[token_id]

    def join(self, tokens: Sequence[str]) -> str:
        """Joins tokens and words, without space before marks."""
        text = "".join(tokens[:1])
        for token in tokens[1:]:
            alone = is_continuation(token) or token[0] in ".?!,"
            text += word_text(token) if alone else f" {token}"
        return text

    def put_token(self, before: str, token_id: int, after: str) -> str:
        """Returns a text with a token in the place of its mask."""
        token = self._vocab[token_id]
        if self._continuation[token_id] and before:
            return before.rstrip() + word_text(token) + after
        return before + token + after

    def vocab_hash(self) -> str:
        """Returns a SHA-256 hex digest of everything that affects the ids."""
        roles = self.special_tokens.all()
        added: list[object] = [
            token for token in self.added_tokens if token.content not in roles
        ]
        switches = (
            self.lowercase,
            self.strip_accents,
            self.tokenize_chinese_chars,
            self.max_word_chars,
        )
        # Those of the uncased models do not count, so that hashes of older
        # versions stay.
        if switches != (True, None, True, 100):
            added.append(switches)
        lines = [*self._vocab, *map(repr, added)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    # Text to ids.

    def _split(
        self, text: tf.Tensor, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Returns ids, or ids, starts and ends, of texts, string [N]."""
        return self._text.split(text, self._split_words, with_offsets)

    def _split_words(
        self, text: tf.Tensor, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Splits normalized text into word pieces."""
        if with_offsets:
            parts = [
                tf.cast(part, tf.int32)
                for part in self._pieces.tokenize_with_offsets(text)
            ]
        else:
            parts = [self._pieces.tokenize(text)]
        return self._forget_long_words(parts)

    def _forget_long_words(
        self, parts: list[tf.RaggedTensor]
    ) -> list[tf.RaggedTensor]:
        """Makes words of too many characters unknown.

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
        long = at_borders[1:] - at_borders[:-1] > self.max_word_chars
        tensors = [ids.row_splits, *(part.flat_values for part in parts)]

        def shortened() -> list[tf.Tensor]:
            words = tf.cumsum(tf.cast(opens, tf.int64)) - 1
            is_long = tf.gather(long, words)
            keeps = opens | ~is_long
            kept = tf.concat([[0], tf.cumsum(_int64(keeps))], axis=0)
            new = [tf.where(is_long, self._unk, ids.flat_values)]
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

        splits, *flat = tf.cond(tf.reduce_any(long), shortened, lambda: tensors)
        return [
            tf.RaggedTensor.from_row_splits(part, splits, validate=False)
            for part in flat
        ]

    # Ids to text.

    def _join(self, ids: tf.RaggedTensor, replace_invalid: bool) -> tf.Tensor:
        """Joins tokens into text, as the decoder of `tokenizers` does."""
        del replace_invalid  # Tokens are whole characters.
        words = ids.with_flat_values(
            tf.gather(self._spellings, ids.flat_values)
        )
        joined = tf.strings.reduce_join(words, axis=-1)
        first = ids[:, :1]
        opens = tf.gather(self._continues, first.flat_values)
        marks = tf.where(opens, CONTINUATION, "")
        prefix = tf.strings.reduce_join(first.with_flat_values(marks), axis=-1)
        return tf.strings.join(
            [prefix, tf.strings.regex_replace(joined, "^ ", "")]
        )


def _cleaned_up(token: str) -> str:
    """Takes the space before a token that no space precedes.

    Reference: the WordPiece decoder of `tokenizers`, which cleans each token.
    """
    for end in (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"):
        token = token.replace(f" {end}", end)
    return token


def _int64(value: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    flat = value.flat_values if isinstance(value, tf.RaggedTensor) else value
    return tf.cast(flat, tf.int64)
