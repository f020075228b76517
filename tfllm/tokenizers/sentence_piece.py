"""SentencePiece in the graph: unigram and BPE, with or without byte fallback.

A tokenizer.model gives the ids, offsets and text of the `sentencepiece`
package, a tokenizer.json those of the `tokenizers` package. The same
TensorFlow ops run eagerly, in tf.data and in an exported SavedModel; see
`sentence_piece_graph`.

Known differences from `sentencepiece`:
    * Of a unigram model, a run of one character behind a user-defined symbol
      may be cut into the same pieces in another order: their scores are equal
      but for rounding.

Known differences from `tokenizers` (tokenizer.json):
    * Special tokens that a text spells are text, unless they are named in
      `special_tokens_in_text`.
    * Text that spells a byte, as "<0x0A>", is text.
    * Scores of unigram are added up in float32, in `tokenizers` in float64. So
      a text of several characters that is repeated, as "1-1-1-", may be cut
      into the same pieces in another order; for one character see `RunOrder`.
    * Offsets: see `character_normalizer`.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfllm.tokenizers import sentence_piece_files
from tfllm.tokenizers import sentence_piece_graph as graph
from tfllm.tokenizers import sentence_piece_model as models
from tfllm.tokenizers.character_normalizer import CharacterNormalizer
from tfllm.tokenizers.sentence_piece_model import SPACE, Model
from tfllm.tokenizers.sentence_piece_rules import TextRules
from tfllm.tokenizers.sentence_piece_text import DecodingRules, PieceJoiner
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens
from tfllm.tokenizers.text_tokenizer import Tokenizer
from tfllm.tokenizers.token_matcher import TokenMatcher


class SentencePieceTokenizer(Tokenizer):
    """Splits text into the ids of a SentencePiece model.

    Bytes that are not UTF-8 become U+FFFD. A "▁" that was put before a text
    comes from no bytes, or in a tokenizer.json from those of the first
    character. Of the bytes of one character, the last comes from all of it, or
    in a tokenizer.json each. Control tokens of a tokenizer.model are never
    shown.

    Args:
        model: A ModelProto of the unigram or BPE kind.
        special_tokens: The special tokens; None: those that the model names.
        text_rules: What is done to texts besides the model's normalizer.
        decoding: How pieces become text; None: as `sentencepiece` does.
        document: The tokenizer.json that the model was made from, which
            `save` writes instead of a tokenizer.model; None: there was none.
        **options: `added_tokens`, `special_tokens_in_text` and `template`;
            see Tokenizer.

    Raises:
        ValueError: The model lacks a special token.

    Reference: Kudo and Richardson, 2018; Kudo, 2018 (unigram); Sennrich et
    al., 2016 (BPE).
    """

    kind = "sentence_piece"
    default_template = sentence_piece_files.LLAMA_ROWS

    def __init__(
        self,
        model: Model,
        *,
        special_tokens: SpecialTokens | None = None,
        text_rules: TextRules | None = None,
        decoding: DecodingRules | None = None,
        document: str | None = None,
        **options: Any,
    ):
        pieces = [piece.piece for piece in model.pieces]
        tokens = special_tokens or sentence_piece_files.named_tokens(model)
        super().__init__(pieces, tokens, **options)
        # Not the message: tf.Module would look into it.
        self._content = model.SerializeToString(deterministic=True)
        self.document = document
        self.text_rules = text_rules or TextRules()
        self.decoding = decoding or _decoding_of(model)
        self._byte_values = _byte_values(model, self.decoding, self._vocab)
        with tf.init_scope():
            self._build(model)

    def _build(self, model: Model) -> None:
        """Loads the ops."""
        self._joiner = PieceJoiner(
            self._vocab,
            self.decoding,
            byte_values=self._byte_values,
            control=models.of_type(model, "CONTROL", "UNUSED"),
            unknown=models.unknown_id(model),
            added=range(self._num_model_tokens, self.vocab_size),
        )
        first, second = (
            {t.content: t for t in self._matched if t.normalized == last}
            for last in (False, True)
        )
        self._matcher = TokenMatcher(first, self._ids)
        self._second_matcher = TokenMatcher(second, self._ids)
        byte_ids = set(models.of_type(model, "BYTE"))
        self._is_byte = tf.constant(
            [i in byte_ids for i in range(len(model.pieces))]
        )
        # Unigram of `tokenizers` spells unknown characters all together.
        self._shares_runs = models.is_unigram(model)
        self._whole = None
        if self.text_rules.prefix == "opening":
            model = models.without_dummy_prefix(model)
        if self._is_one_op(model):
            content = model.SerializeToString(deterministic=True)
            self._whole = graph.PieceOp(content)
            return
        rules = self.text_rules
        self._normalizer: graph.Normalizer | CharacterNormalizer
        self._segmenter: graph.UnigramSegmenter | graph.BPESegmenter
        if rules.form or rules.steps:
            self._normalizer = CharacterNormalizer(rules.form, rules.steps)
        else:
            self._normalizer = graph.Normalizer(model)
        self._order = graph.RunOrder(self._vocab) if rules.orders_runs else None
        if models.is_unigram(model):
            self._segmenter = graph.UnigramSegmenter(model)
        else:
            self._segmenter = graph.BPESegmenter(model)

    def _is_one_op(self, model: Model) -> bool:
        """Whether the op of the whole model follows all of the rules."""
        rules, spec = self.text_rules, model.normalizer_spec
        keeps_spaces = not (
            spec.precompiled_charsmap or spec.remove_extra_whitespaces
        )
        return (
            not models.is_unigram(model)
            and not rules.splits_words
            and not rules.form
            and not rules.steps
            and (rules.prefix == "model" or keeps_spaces)
        )

    # Vocabulary.

    @classmethod
    def from_file(
        cls, path: str, spec: TokenizerSpec | None = None, **overrides: Any
    ) -> Self:
        """Reads a tokenizer.model, a tokenizer.json, or a folder of one."""
        model, arguments = sentence_piece_files.read(path, spec)
        return cls(model, **{**arguments, **overrides})

    def save(self, folder: str, spec: TokenizerSpec | None = None) -> None:
        """Writes tokenizer.model, tokenizer.json and tokenizer_config.json.

        Args:
            folder: Is created if missing.
            spec: Not needed: Transformers reads the files as they are.
        """
        del spec
        sentence_piece_files.write(folder, self)

    @property
    def model(self) -> Model:
        """The ModelProto."""
        return models.proto().ModelProto.FromString(self._content)

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """What each token adds to a text, in the order of their ids."""
        return self._joiner.token_bytes

    @functools.cached_property
    def is_continuation(self) -> np.ndarray:
        """The tokens that do not begin with "▁", bool [V].

        Bytes continue a word: a character that has none opens it as "▁".
        """
        opens = [token.startswith(SPACE) for token in self._vocab]
        return ~(np.array(opens) | self.is_special)

    def _hashed_lines(self) -> list[str]:
        """Returns what decides the ids, without the added tokens."""
        return [
            hashlib.sha256(self._content).hexdigest(),
            *self._vocab[self._num_model_tokens :],
            repr(self.text_rules),
        ]

    # Text to ids.

    def _split(
        self, text: tf.Tensor, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Maps added tokens to ids, and tokenizes the text between them."""
        tokenize = functools.partial(self._tokenize, with_places=with_offsets)

        def between(text: tf.Tensor, opens: tf.Tensor) -> list[tf.RaggedTensor]:
            return self._second_matcher.split_and_tokenize(
                text, tokenize, opens=opens
            )

        opens = tf.ones_like(text, tf.bool)
        return self._matcher.split_and_tokenize(text, between, opens=opens)

    def _tokenize(
        self, text: tf.Tensor, opens: tf.Tensor, with_places: bool
    ) -> list[tf.RaggedTensor]:
        """Tokenizes parts of texts.

        Args:
            text: string [N].
            opens: bool [N]. Whether a part opens its text.
            with_places: Whether to return starts and ends as well.
        """
        if self._whole is not None:
            parts = self._tokenize_at_once(text, opens, with_places)
        elif with_places:
            parts = self._tokenize_with_places(text, opens)
        else:
            normalized = self._normalizer.normalize(text)
            missing = self._lacks_prefix(normalized, opens)
            prefix = tf.where(missing, SPACE, "")
            pieces = self._segment(tf.strings.join([prefix, normalized]))
            parts = [pieces.ids]
        if with_places and self.text_rules.whole_characters:
            parts[2] = graph.reach_characters(text, parts[1], parts[2])
            if self._shares_runs:
                is_byte = tf.gather(self._is_byte, parts[0].flat_values)
                parts[1:] = graph.share_runs(is_byte, *parts[1:])
        return parts

    def _lacks_prefix(self, text: tf.Tensor, opens: tf.Tensor) -> tf.Tensor:
        """Returns which normalized parts need a "▁", bool [N]."""
        if self.text_rules.prefix == "model":
            return tf.zeros_like(opens)
        if self.text_rules.prefix == "opening":
            return (text != "") & opens
        first = tf.strings.substr(text, 0, len(SPACE.encode()))
        lacks = (text != "") & (first != SPACE)
        return lacks & opens if self.text_rules.prefix == "first" else lacks

    def _segment(self, text: tf.Tensor) -> graph.Pieces:
        """Cuts normalized texts into pieces."""
        splits = None
        if self.text_rules.splits_words:
            text, splits = graph.words_of(text)
        pieces = self._segmenter.segment(text)
        if self._order is not None:
            pieces = self._order.order(pieces)
        if splits is None:
            return pieces
        return graph.Pieces(graph.to_texts(pieces.ids, splits), pieces.lengths)

    def _tokenize_at_once(
        self, text: tf.Tensor, opens: tf.Tensor, with_places: bool
    ) -> list[tf.RaggedTensor]:
        """Tokenizes with the op that normalizes and segments."""
        assert self._whole is not None
        op = self._whole.live()
        spaced = tf.strings.regex_replace(text, "^ ", SPACE)
        missing = self._lacks_prefix(spaced, opens)
        full = tf.strings.join([tf.where(missing, SPACE, ""), text])
        if not with_places:
            return [op.tokenize(full)]
        ids, *places = op.tokenize_with_offsets(full)
        added = tf.where(missing, len(SPACE.encode()), 0)  # [N]
        shift = tf.gather(added, ids.value_rowids())  # [tokens]
        return [
            ids,
            *(
                part.with_flat_values(
                    tf.maximum(tf.cast(part.flat_values, tf.int32) - shift, 0)
                )
                for part in places
            ),
        ]

    def _tokenize_with_places(
        self, text: tf.Tensor, opens: tf.Tensor
    ) -> list[tf.RaggedTensor]:
        """Tokenizes with one op that normalizes and one that segments."""
        normalized = self._normalizer.normalize_with_places(text)
        missing = self._lacks_prefix(normalized.text, opens)
        # [N] -> ragged [N, (bytes of a prefix)], at the first byte's place.
        count = tf.where(missing, len(SPACE.encode()), 0)
        first = normalized.starts[:, :1].to_tensor(0, shape=[None, 1])[:, 0]
        prefix = tf.RaggedTensor.from_row_lengths(
            tf.repeat(first, count), tf.cast(count, tf.int64), validate=False
        )
        normalized = graph.Normalized(
            tf.strings.join([tf.where(missing, SPACE, ""), normalized.text]),
            tf.concat([prefix, normalized.starts], axis=1),
            tf.concat([prefix, normalized.ends], axis=1),
        )
        pieces = self._segment(normalized.text)
        starts, ends = graph.places_of(pieces, normalized)
        return [pieces.ids, starts, ends]

    # Ids to text.

    def _join(self, ids: tf.RaggedTensor, replace_invalid: bool) -> tf.Tensor:
        """Joins tokens to texts, as `sentencepiece` or `tokenizers` does."""
        return self._joiner.join(ids, replace_invalid)

    def detokenize_after_text(
        self,
        ids: tf.Tensor | tf.RaggedTensor,
        replace_invalid: bool = False,
    ) -> tf.Tensor:
        """Joins tokens that follow other text; the first keeps its space."""
        text = self._joiner.spell(self._without_special(ids))
        if replace_invalid:
            text = tf.strings.unicode_transcode(
                text, "UTF-8", "UTF-8", errors="replace"
            )
        return text


def _decoding_of(model: Model) -> DecodingRules:
    """Returns how `sentencepiece` decodes the pieces of a model."""
    spec = model.normalizer_spec
    strip = "none"
    if spec.remove_extra_whitespaces:
        strip = "pieces"
    elif spec.add_dummy_prefix:
        strip = "piece"
    return DecodingRules(
        strip=strip,  # type: ignore[arg-type]
        shows_control=False,
        replaces_runs=False,
        unknown=model.trainer_spec.unk_surface,
    )


def _byte_values(
    model: Model, decoding: DecodingRules, vocab: tuple[str, ...]
) -> tuple[int, ...]:
    """Returns the byte that each token stands for, or -1."""
    byte_of = {models.byte_piece(byte): byte for byte in range(256)}
    if not decoding.byte_fallback:
        return (-1,) * len(vocab)
    ids = set(models.of_type(model, "BYTE"))
    return tuple(
        byte_of[token] if number in ids else -1
        for number, token in enumerate(vocab)
    )
