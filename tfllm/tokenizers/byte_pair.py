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

import functools
import itertools
import logging
import re
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import tensorflow as tf

from tfllm.tokenizers import byte_pair_files, byte_pair_model
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.byte_words import ByteWords
from tfllm.tokenizers.normalization import normalized
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.sentence_piece_graph import PieceOp
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens
from tfllm.tokenizers.split_patterns import PATTERNS
from tfllm.tokenizers.text_tokenizer import Tokenizer
from tfllm.tokenizers.token_ids import TokenIds
from tfllm.tokenizers.token_matcher import TokenMatcher

logger = logging.getLogger(__name__)

END_OF_TEXT = byte_pair_files.END_OF_TEXT

# Tokens that a warning names.
_NAMED = 5


class ByteBPETokenizer(Tokenizer):
    """Splits text into the ids of a byte-level BPE vocabulary.

    Bytes that are not UTF-8 are words of their own. A space that was put before
    a text is not counted in offsets: the first token begins at 0.

    Args:
        vocab: The tokens of the model in the order of their ids, spelled with
            the printable characters that stand for bytes.
        merges: Pairs of tokens, in the order of their ranks.
        special_tokens: The special tokens. None of them comes out of text,
            unless `special_tokens_in_text` names it.
        add_prefix_space: Put a space before a text that has none.
        pattern: How text is split into words, one of
            `split_patterns.PATTERNS`.
        normalization: "NFC": text is composed first, and offsets are those of
            whole characters.
        ignore_merges: Whether a word that is a token is never split.
        added_tokens: Tokens that are matched whole; those that `vocab` lacks
            get the ids behind it, in this order.
        special_tokens_in_text: Special tokens that text may spell. Leave it
            empty for text that others wrote.
        template: The rows of the model; None: those of GPT-2.
        source: Where the vocabulary comes from, for messages.

    Raises:
        ValueError: The construction cannot hold the vocabulary; see
            `byte_pair_model.check`.

    Reference: Radford et al., 2019, section 2.2.
    """

    kind = "byte_bpe"
    default_template = byte_pair_files.GPT2_ROWS

    def __init__(
        self,
        vocab: Sequence[str],
        merges: Sequence[Merge],
        *,
        special_tokens: SpecialTokens | None = None,
        add_prefix_space: bool = False,
        pattern: str = "gpt2",
        normalization: Literal["NFC"] | None = None,
        ignore_merges: bool = False,
        added_tokens: Sequence[AddedToken] = (),
        special_tokens_in_text: Sequence[str] = (),
        template: RowTemplate[str] | None = None,
        source: str = "`vocab`",
    ):
        byte_pair_model.check(vocab, merges, source)
        super().__init__(
            vocab,
            special_tokens or SpecialTokens(),
            added_tokens=added_tokens,
            special_tokens_in_text=special_tokens_in_text,
            template=template,
        )
        self._merges = tuple((left, right) for left, right in merges)
        self.add_prefix_space = bool(add_prefix_space)
        self.pattern, self.normalization = pattern, normalization
        self.ignore_merges = bool(ignore_merges)
        whole: dict[str, int] = {}
        if ignore_merges:
            words = byte_pair_model.whole_words(vocab, merges)
            whole = {word: self._ids[word] for word in words}
        spelled = byte_pair_model.token_bytes(self._vocab)
        self._token_bytes = tuple(spelled)
        missing = byte_pair_model.missing_bytes(self._vocab)
        symbols = byte_pair_model.byte_symbols()
        # Bytes without a token; as `tokenizers`, texts lose them.
        self._missing = "|".join(re.escape(symbols[b]) for b in missing)
        with tf.init_scope():
            self._words = ByteWords(PATTERNS[pattern])
            self._spellings = tf.constant(spelled)
            self._lengths = tf.constant([len(s) for s in spelled], tf.int32)
            is_kept = [byte not in missing for byte in range(256)]
            self._is_kept = tf.constant(is_kept)
            self._pieces = PieceOp(
                byte_pair_model.build(self._vocab, self._merges)
            )
            self._whole = TokenIds(whole) if whole else None
            # Tokens that are not normalized are matched first.
            first, second = (
                {t.content: t for t in self._matched if t.normalized == last}
                for last in (False, True)
            )
            self._matcher = TokenMatcher(first, self._ids)
            self._second_matcher = TokenMatcher(second, self._ids)

    # Vocabulary.

    @classmethod
    def from_file(
        cls, path: str, spec: TokenizerSpec | None = None, **overrides: Any
    ) -> Self:
        """Reads vocab.json and merges.txt, or a tokenizer.json."""
        vocab, merges, arguments = byte_pair_files.read(path, spec)
        arguments = {"source": repr(str(path)), **arguments, **overrides}
        tokenizer = cls(vocab, merges, **arguments)
        silent = tokenizer.tokens_of_no_text
        if silent:
            logger.warning(
                "%s: %s%s never come out of a text: each is neither a byte "
                "nor made by a merge. A text that spells one becomes other "
                "tokens.",
                path,
                ", ".join(map(repr, silent[:_NAMED])),
                f" and {len(silent) - _NAMED} more"
                if len(silent) > _NAMED
                else "",
            )
        return tokenizer

    def save(self, folder: str, spec: TokenizerSpec | None = None) -> None:
        """Writes vocab.json, merges.txt, tokenizer.json and the config."""
        byte_pair_files.write(folder, self, spec)

    @property
    def merges(self) -> list[Merge]:
        """The merges in the order of their ranks."""
        return list(self._merges)

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """What each token adds to a text, in the order of their ids."""
        return self._token_bytes

    @functools.cached_property
    def is_continuation(self) -> np.ndarray:
        """The tokens that do not begin with a space, bool [V].

        Reference: `is_beginning_of_word` of the published RoBERTa code.
        """
        opens = [token.startswith(b" ") for token in self._token_bytes]
        return ~(np.array(opens) | self.is_special)

    @property
    def tokens_of_no_text(self) -> list[str]:
        """The tokens that never come out of a text, without special ones."""
        made = {left + right for left, right in self._merges}
        made.update(byte_pair_model.byte_symbols())
        made.update(token.content for token in self._matched)
        made.update(self.special_tokens.all())
        return [token for token in self._vocab if token not in made]

    def _hashed_lines(self) -> list[str]:
        """Returns what decides the ids, without the added tokens."""
        return [
            *self._vocab,
            *itertools.chain.from_iterable(self._merges),
            str(self.special_tokens.eos),
            str(self.add_prefix_space),
            *self._hashed_options(),
        ]

    def _hashed_options(self) -> list[str]:
        """Returns what differs from GPT-2; its hashes stay."""
        options = (self.pattern, self.normalization, self.ignore_merges)
        return [] if options == ("gpt2", None, False) else [str(options)]

    # Text to ids.

    def _split(
        self, text: tf.Tensor, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Maps added tokens to ids, and tokenizes what is between them."""
        tokenize = functools.partial(
            self._second_matcher.split_and_tokenize,
            tokenize=(
                self._tokenize_with_offsets if with_offsets else self._tokenize
            ),
        )
        if self.normalization:
            tokenize = functools.partial(
                normalized, tokenize=tokenize, form=self.normalization
            )
        return self._matcher.split_and_tokenize(text, tokenize)

    def _with_prefix(self, text: tf.Tensor) -> tf.Tensor:
        """Puts a space before texts that have none, if so asked."""
        if not self.add_prefix_space:
            return text
        opens = tf.strings.substr(text, 0, 1)
        add = tf.logical_and(opens != " ", opens != "")
        return tf.strings.join([tf.where(add, " ", ""), text])

    def _tokenize(self, text: tf.Tensor) -> list[tf.RaggedTensor]:
        """Tokenizes texts without added tokens; returns the ids."""
        words, splits = self._words(self._with_prefix(text))
        if self._missing:
            words = tf.strings.regex_replace(words, self._missing, "")
        ids = self._ids_of_words(words)
        # Tokens of a text: those of its words.
        rows = tf.gather(ids.row_splits, splits)
        return [
            tf.RaggedTensor.from_row_splits(
                ids.flat_values, rows, validate=False
            )
        ]

    def _ids_of_words(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Returns the tokens of words, int32 ragged [W, (tokens)]."""
        pieces = self._pieces.live()
        if self._whole is None:
            return pieces.tokenize(words)
        whole = self._whole(words)
        is_whole = whole >= 0
        single = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(whole, is_whole), tf.cast(is_whole, tf.int64)
        )
        others = pieces.tokenize(tf.where(is_whole, "", words))
        return tf.concat([others, single], axis=1)

    def _tokenize_with_offsets(self, text: tf.Tensor) -> list[tf.RaggedTensor]:
        """Tokenizes texts without added tokens; returns all three parts."""
        (ids,) = self._tokenize(text)
        lengths = tf.gather(self._lengths, ids.flat_values)
        ends = tf.cumsum(lengths)
        starts = ends - lengths
        prefixed = self._with_prefix(text)
        sizes = tf.strings.length(prefixed)
        if self._missing:
            content = tf.strings.reduce_join(prefixed)
            content = tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32)
            # Where each byte with a token stands in the bytes of all texts.
            places = tf.where(tf.gather(self._is_kept, content))[:, 0]
            places = tf.cast(places, tf.int32)
            starts = tf.gather(places, starts)
            ends = tf.gather(places, ends - 1) + 1
        added = sizes - tf.strings.length(text)
        begins = tf.cumsum(sizes, exclusive=True) + added
        begins = tf.gather(begins, ids.value_rowids())
        return [
            ids,
            ids.with_flat_values(tf.maximum(starts - begins, 0)),
            ids.with_flat_values(tf.maximum(ends - begins, 0)),
        ]

    # Ids to text.

    def _join(self, ids: tf.RaggedTensor, replace_invalid: bool) -> tf.Tensor:
        """Joins the bytes of tokens."""
        spelled = tf.gather(self._spellings, ids.flat_values)
        text = tf.strings.reduce_join(ids.with_flat_values(spelled), axis=-1)
        if replace_invalid:
            text = tf.strings.unicode_transcode(
                text, "UTF-8", "UTF-8", errors="replace"
            )
        return text
