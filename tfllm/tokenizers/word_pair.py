"""BPE over whole words in the graph, equal to the published GPT-1 tokenizer.

The same TensorFlow ops run eagerly, in tf.data and in an exported SavedModel,
and stock TF Serving links all of them: `FastBertNormalize`, the SentencePiece
ops, `RegexSplitWithOffsets` (only when added tokens are read from text) and
core ops.

Texts are normalized and split as by the uncased BERT tokenizer, and the
SentencePiece op merges the characters of each word (see `word_pair_model`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfllm.tokenizers import (
    bert_characters,
    word_pair_files,
    word_pair_model,
)
from tfllm.tokenizers.bert_text import BertText
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.sentence_piece_graph import PieceOp
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens
from tfllm.tokenizers.text_tokenizer import Tokenizer


class WordPairTokenizer(Tokenizer):
    """Splits text into the ids of a BPE vocabulary of lower-cased words.

    Bytes that are not UTF-8 are dropped. A token comes from its first
    character to the last one that is kept. In text from ids, words and marks
    are separated by one space; capitals, lost accents and other white space do
    not come back.

    Args:
        vocab: The tokens of the model in the order of their ids; those that
            end a word end in "</w>".
        merges: Pairs of tokens, in the order of their ranks.
        special_tokens: The special tokens, an unknown token among them.
        added_tokens: Tokens that are matched whole; those that `vocab` lacks
            get the ids behind it, in this order.
        special_tokens_in_text: Special tokens that text may spell. Leave it
            empty for text that others wrote.
        template: The rows of the model; None: those of GPT-2.
        source: Where the vocabulary comes from, for messages.

    Raises:
        ValueError: There is no unknown token, or the construction cannot hold
            the vocabulary; see `word_pair_model.build`.

    Reference: Sennrich et al., 2016, section 3.2; Radford et al., 2018.
    """

    kind = "word_bpe"
    default_template = word_pair_files.ROWS
    lowercase = True

    def __init__(
        self,
        vocab: Sequence[str],
        merges: Sequence[Merge],
        *,
        special_tokens: SpecialTokens | None = None,
        added_tokens: Sequence[AddedToken] = (),
        special_tokens_in_text: Sequence[str] = (),
        template: RowTemplate[str] | None = None,
        source: str = "`vocab`",
    ):
        super().__init__(
            vocab,
            special_tokens or word_pair_files.TOKENS,
            added_tokens=added_tokens,
            special_tokens_in_text=special_tokens_in_text,
            template=template,
        )
        self._merges = tuple((left, right) for left, right in merges)
        pieces = word_pair_model.build(
            self.model_vocab, self._merges, self.role_id("unk"), source
        )
        self._texts = tuple(
            token if special else word_pair_model.token_text(token)
            for token, special in zip(self._vocab, self.is_special, strict=True)
        )
        with tf.init_scope():
            self._text = BertText(_normalization(), self._matched, self._ids)
            self._pieces = PieceOp(pieces.model)
            self._piece_ids = tf.constant(pieces.ids, tf.int32)
            self._lengths = tf.constant(pieces.lengths, tf.int32)
            self._absent = pieces.absent
            self._spellings = tf.constant(self._texts)

    # Vocabulary.

    @classmethod
    def from_file(
        cls, path: str, spec: TokenizerSpec | None = None, **overrides: Any
    ) -> Self:
        """Reads vocab.json and merges.txt, or a tokenizer.json."""
        vocab, merges, arguments = word_pair_files.read(path, spec)
        arguments = {"source": repr(str(path)), **arguments, **overrides}
        return cls(vocab, merges, **arguments)

    def save(self, folder: str, spec: TokenizerSpec | None = None) -> None:
        """Writes vocab.json, merges.txt, tokenizer.json and the config."""
        word_pair_files.write(folder, self, spec)

    @property
    def merges(self) -> list[Merge]:
        """The merges in the order of their ranks."""
        return list(self._merges)

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """What each token adds to a text, in the order of their ids."""
        return tuple(text.encode() for text in self._texts)

    @property
    def is_continuation(self) -> np.ndarray:
        """No token: it says where a word ends, not whether it continues one."""
        return np.zeros(len(self._vocab), bool)

    def _hashed_lines(self) -> list[str]:
        """Returns what decides the ids, without the added tokens."""
        merges = [f"{left} {right}" for left, right in self._merges]
        return [self.kind, *self._vocab, *merges]

    # Text to ids.

    def _split(
        self, text: tf.Tensor, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Returns ids, or ids, starts and ends, of texts, string [N]."""
        return self._text.split(text, self._merge_characters, with_offsets)

    def _merge_characters(
        self, text: tf.Tensor, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Splits normalized text, words between spaces, into tokens."""
        for pattern, absent in self._absent:
            text = tf.strings.regex_replace(text, pattern, absent)
        text = tf.strings.regex_replace(
            text, "([^ ]+)", rf"\1{word_pair_model.END}"
        )
        pieces = self._pieces.live().tokenize(text)
        ids = tf.gather(self._piece_ids, pieces.flat_values)
        keeps = pieces.with_flat_values(ids >= 0)
        parts = [ids]
        if with_offsets:
            lengths = tf.gather(self._lengths, pieces.flat_values)
            totals = tf.cumsum(lengths)
            before = tf.concat([[0], totals], 0)
            begins = tf.gather(before, pieces.row_starts())
            ends = totals - tf.gather(begins, pieces.value_rowids())
            parts += [ends - lengths, ends]
        return [
            tf.ragged.boolean_mask(pieces.with_flat_values(part), keeps)
            for part in parts
        ]

    # Ids to text.

    def _join(self, ids: tf.RaggedTensor, replace_invalid: bool) -> tf.Tensor:
        """Joins tokens into text, as the decoder of `tokenizers` does."""
        del replace_invalid  # Tokens are whole characters.
        spelled = tf.gather(self._spellings, ids.flat_values)
        text = tf.strings.reduce_join(ids.with_flat_values(spelled), axis=-1)
        return tf.strings.regex_replace(text, " $", "")

    def detokenize_after_text(
        self,
        ids: tf.Tensor | tf.RaggedTensor,
        replace_invalid: bool = False,
    ) -> tf.Tensor:
        """Joins tokens that follow other text, which ended a word."""
        text = super().detokenize_after_text(ids, replace_invalid)
        return tf.strings.join([tf.where(text == "", "", " "), text])


@functools.cache
def _normalization() -> dict[str, str]:
    """Returns what replaces each character: words stand between spaces."""
    chars = bert_characters
    mapping = chars.normalization(True, True)
    mapping |= dict.fromkeys(chars.spaces(), " ")
    alone = {c: f" {c} " for c in chars.punctuation() | chars.ideographs()}
    result = {
        char: "".join(alone.get(c, c) for c in text)
        for char, text in mapping.items()
    }
    return {**alone, **result}
