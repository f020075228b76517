"""SentencePiece whose pieces have the ids of a vocabulary of their own.

Translation models of OPUS have two SentencePiece models, one for the texts
that they read and one for those that they write, and a vocabulary that gives
the pieces of both their ids. A text may begin with the code of the language to
translate into, as ">>fra<<", which is one token.

Known differences from MarianTokenizer of Transformers:
    * Special tokens that a text spells are text, unless they are named in
      `special_tokens_in_text`.
    * Special tokens that are shown have no space behind them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfllm.tokenizers import mapped_piece_files
from tfllm.tokenizers import sentence_piece_model as models
from tfllm.tokenizers.sentence_piece import SentencePieceTokenizer
from tfllm.tokenizers.sentence_piece_model import SPACE, Model
from tfllm.tokenizers.sentence_piece_text import DecodingRules, PieceJoiner
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens
from tfllm.tokenizers.text_tokenizer import Tokenizer
from tfllm.tokenizers.token_ids import TokenIds
from tfllm.tokenizers.token_matcher import SPACES, TokenMatcher

# The code of a language that opens a text. `\C` is any byte.
_CODE = r"^>>\C*?<<"
_REST = rf"({_CODE})\C*$"
# White space of str.strip().
_ENDS = rf"^[{SPACES}\x1c-\x1f]+|[{SPACES}\x1c-\x1f]+$"


class MappedPieceTokenizer(Tokenizer):
    """Splits text into pieces of a SentencePiece model, with ids of their own.

    Bytes that are not UTF-8 become U+FFFD. A "▁" that was put before a text
    comes from no bytes.

    Args:
        vocab: The tokens in the order of their ids. A piece that it lacks is
            unknown.
        model: A ModelProto of the unigram or BPE kind, for texts that are
            read.
        special_tokens: The special tokens; `unk` and `eos` are needed.
        target_model: Model for texts that are written; None: `model`.
        target_vocab: Tokens of texts that are written, in the order of their
            ids; None: `vocab`.
        languages: Language of the texts that are read and of those that are
            written, kept in the files; None: unknown.
        **options: `added_tokens`, `special_tokens_in_text` and `template`;
            see Tokenizer.

    Raises:
        ValueError: The vocabulary lacks a special token.

    Reference: Kudo and Richardson, 2018; Junczys-Dowmunt et al., 2018.
    """

    kind = "mapped_sentence_piece"
    default_template = mapped_piece_files.ROWS

    def __init__(
        self,
        vocab: Sequence[str],
        model: Model,
        special_tokens: SpecialTokens,
        *,
        target_model: Model | None = None,
        target_vocab: Sequence[str] | None = None,
        languages: tuple[str | None, str | None] = (None, None),
        **options: Any,
    ):
        special_tokens.spell(("unk", "eos"))
        super().__init__(vocab, special_tokens, **options)
        self.languages = languages
        self.has_target_vocab = target_vocab is not None
        with tf.init_scope():
            self._build(model)
        self._target: MappedPieceTokenizer | None = None
        if target_model is not None or self.has_target_vocab:
            self._target = MappedPieceTokenizer(
                vocab if target_vocab is None else target_vocab,
                model if target_model is None else target_model,
                special_tokens,
                **options,
            )

    def _build(self, model: Model) -> None:
        """Loads the ops and tables."""
        self._pieces = SentencePieceTokenizer(model)
        unknown = self.role_id("unk")
        self._id_of_piece = tf.constant(
            [self._ids.get(piece.piece, unknown) for piece in model.pieces],
            tf.int32,
        )  # [pieces]
        self._matcher = TokenMatcher(
            {token.content: token for token in self._matched}, self._ids
        )
        # One entry at least: the table may not be empty.
        codes = {t: i for t, i in self._ids.items() if _is_code(t)}
        self._code_ids = TokenIds(codes or {"": unknown})
        spelled = {*self.special_tokens.all(), *self.special_tokens.additional}
        control = {
            model.pieces[i].piece for i in models.of_type(model, "CONTROL")
        }
        byte_of = {
            models.byte_piece(byte): byte
            for byte in range(256)
            if self._pieces.decoding.byte_fallback
        }
        bytes_here = {
            model.pieces[i].piece for i in models.of_type(model, "BYTE")
        }
        self._joiner = PieceJoiner(
            self._vocab,
            DecodingRules(shows_control=False, replaces_runs=False),
            byte_values=[
                byte_of[token] if token in bytes_here else -1
                for token in self._vocab
            ],
            control=[
                i
                for i, token in enumerate(self._vocab)
                if token in control and token not in spelled
            ],
            unknown=unknown,
            added=[i for i, t in enumerate(self._vocab) if t in spelled],
        )

    # Vocabulary.

    @classmethod
    def from_file(
        cls, path: str, spec: TokenizerSpec | None = None, **overrides: Any
    ) -> Self:
        """Reads a folder with source.spm, target.spm and vocab.json."""
        return cls(**{**mapped_piece_files.read(path, spec), **overrides})

    def save(self, folder: str, spec: TokenizerSpec | None = None) -> None:
        """Writes the files that MarianTokenizer of Transformers reads.

        Args:
            folder: Is created if missing.
            spec: Names the class that Transformers loads the files as.
        """
        mapped_piece_files.write(folder, self, spec)

    @property
    def model(self) -> Model:
        """The ModelProto for texts that are read."""
        return self._pieces.model

    @property
    def target(self) -> Tokenizer:
        """The tokenizer of texts that the model writes."""
        return self._target or self

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """What each token adds to a text, in the order of their ids."""
        return self._joiner.token_bytes

    @functools.cached_property
    def is_continuation(self) -> np.ndarray:
        """The tokens that do not begin with "▁", bool [V]."""
        opens = [t.startswith(SPACE) or _is_code(t) for t in self._vocab]
        return ~(np.array(opens) | self.is_special)

    def _hashed_lines(self) -> list[str]:
        """Returns what decides the ids, without the added tokens."""
        target = "" if self._target is None else self._target.vocab_hash()
        return [self._pieces.vocab_hash(), target, *self._vocab]

    # Text to ids.

    def _split(
        self, text: tf.Tensor, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Maps added tokens to ids, and tokenizes the text between them."""
        tokenize = functools.partial(self._tokenize, with_places=with_offsets)
        return self._matcher.split_and_tokenize(text, tokenize)

    def _tokenize(
        self, text: tf.Tensor, with_places: bool
    ) -> list[tf.RaggedTensor]:
        """Tokenizes texts that may begin with the code of a language.

        Args:
            text: string [N].
            with_places: Whether to return starts and ends as well.
        """
        has_code = tf.strings.regex_full_match(text, _REST)
        code = tf.where(
            has_code, tf.strings.regex_replace(text, _REST, r"\1"), ""
        )  # [N]
        rest = tf.strings.regex_replace(text, _CODE, "", replace_global=False)
        if with_places:
            parts = list(self._pieces.tokenize_with_offsets(rest))
        else:
            parts = [self._pieces.tokenize(rest)]
        ids = parts[0]
        parts[0] = ids.with_flat_values(
            tf.gather(self._id_of_piece, ids.flat_values)
        )
        size = tf.strings.length(code)  # [N]
        shift = tf.gather(size, ids.value_rowids())  # [tokens]
        for place in range(1, len(parts)):
            moved = parts[place].flat_values + shift
            parts[place] = parts[place].with_flat_values(moved)
        # [N] -> ragged [N, (0 or 1)], before the pieces.
        opening = [self._ids_of_codes(code), tf.zeros_like(size), size]
        counts = tf.cast(has_code, ids.row_splits.dtype)
        return [
            tf.concat(
                [
                    tf.RaggedTensor.from_row_lengths(
                        tf.boolean_mask(first, has_code), counts, validate=False
                    ),
                    part,
                ],
                axis=1,
            )
            for first, part in zip(opening, parts, strict=False)
        ]

    def _ids_of_codes(self, code: tf.Tensor) -> tf.Tensor:
        """Returns the ids of codes, int32 [N]; others are unknown."""
        ids = self._code_ids(code)
        return tf.where(ids < 0, self.role_id("unk"), ids)

    # Ids to text.

    def _join(self, ids: tf.RaggedTensor, replace_invalid: bool) -> tf.Tensor:
        """Decodes tokens to text and strips surrounding whitespace."""
        text = self._joiner.join(ids, replace_invalid)
        return tf.strings.regex_replace(text, _ENDS, "")

    def detokenize_after_text(
        self,
        ids: tf.Tensor | tf.RaggedTensor,
        replace_invalid: bool = False,
    ) -> tf.Tensor:
        """Joins tokens that follow other text; the first keeps its space."""
        return self._joiner.join(self._without_special(ids), replace_invalid)


def _is_code(token: str) -> bool:
    """Returns whether a token is the code of a language."""
    return token.startswith(">>") and token.endswith("<<")
