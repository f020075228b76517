"""Base class of tokenizers: texts to the inputs of a model, and back."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import tensorflow as tf

from tfllm.tokenizers.call_rows import (
    Ids,
    Padding,
    as_rows,
    check_options,
    check_pair,
    to_dense,
    without_empty_rows,
)
from tfllm.tokenizers.row_template import RowTemplate, bind
from tfllm.tokenizers.rows import rows_of
from tfllm.tokenizers.spec import Kind, TokenizerSpec
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens
from tfllm.tokenizers.text_input import as_strings, as_vector
from tfllm.tokenizers.token_matcher import to_match

Text: TypeAlias = "str | bytes | Sequence[str] | np.ndarray | tf.Tensor"


class Tokenizer(tf.Module):
    """Base class of tokenizers, which turn texts into ids and back.

    A subclass gives `kind`, `default_template`, `is_continuation`,
    `token_bytes`, `from_file`, `save`, `_split`, `_join` and `_hashed_lines`.

    Args:
        model_vocab: The tokens of the model in the order of their ids.
        special_tokens: The special tokens; each must be in the vocabulary.
        added_tokens: Tokens that are matched whole; those that `model_vocab`
            lacks get the ids behind it, in this order.
        special_tokens_in_text: Special tokens that text may spell, by their
            roles, as "mask", or by their spelling. Leave it empty for text
            that others wrote.
        template: The rows of the model; None: those of most models of this
            kind.

    Attributes:
        special: Id of the token in each role, or None.
        special_tokens: Spelling of the token in each role, or None.
        row_template: The rows of the model.
        is_special: bool [V], the tokens that texts can be shown without.

    Raises:
        ValueError: The vocabulary lacks a special token.
    """

    kind: ClassVar[Kind]
    default_template: ClassVar[RowTemplate[str]]
    # Whether tokens hold the spaces between words.
    keeps_spaces: ClassVar[bool] = True
    # Whether text is lower-cased; None: the kind never does.
    lowercase: bool | None = None
    # Whether a space is put before a text that has none.
    add_prefix_space: bool = False

    def __init__(
        self,
        model_vocab: Sequence[str],
        special_tokens: SpecialTokens,
        *,
        added_tokens: Sequence[AddedToken] = (),
        special_tokens_in_text: Sequence[str] = (),
        template: RowTemplate[str] | None = None,
    ):
        super().__init__(name=f"{self.kind}_tokenizer")
        known = set(model_vocab)
        more = [t.content for t in added_tokens if t.content not in known]
        # Not lists and dicts: tf.Module would wrap and track them.
        self._vocab = (*model_vocab, *more)
        self._num_model_tokens = len(model_vocab)
        self._ids = types.MappingProxyType(
            {token: i for i, token in enumerate(self._vocab)}
        )
        roles = special_tokens.all()
        special_tokens = special_tokens.with_additional(
            t.content for t in added_tokens if t.special
        )
        _check_known(special_tokens, self._ids)
        self.special_tokens = special_tokens
        in_text = special_tokens.spell(special_tokens_in_text)
        self.special_tokens_in_text = in_text
        self.added_tokens = tuple(added_tokens)
        self._matched = to_match(added_tokens, roles, in_text)
        self.special = special_tokens.ids(self._ids)
        special = {*roles, *special_tokens.additional}
        special |= {t.content for t in added_tokens if t.special}
        self.is_special = np.array([t in special for t in self._vocab])
        with tf.init_scope():
            self._skips = tf.constant(self.is_special)
        self.template = template or self.default_template
        self.row_template = bind(self.template, special_tokens, self._ids)

    # What a subclass gives.

    @classmethod
    def from_file(
        cls, path: str, spec: TokenizerSpec | None = None, **overrides: Any
    ) -> Self:
        """Reads a tokenizer file, or a folder in the Hugging Face layout.

        Args:
            path: Any tf.io.gfile path.
            spec: What the family says, where the files are silent.
            **overrides: Arguments of the constructor that replace what the
                files say.

        Raises:
            ValueError: The path is missing, has no vocabulary, or asks for
                something that is not supported.
        """
        raise NotImplementedError

    def save(self, folder: str, spec: TokenizerSpec | None = None) -> None:
        """Writes the tokenizer in the Hugging Face layout.

        Args:
            folder: Is created if missing. `from_file` and the tokenizers of
                Transformers read it.
            spec: Of the model's family, which names the class that
                Transformers loads the files as; None: that of the kind.
        """
        raise NotImplementedError

    def _split(
        self, text: tf.Tensor, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Returns ids, or ids, starts and ends, of texts, string [N]."""
        raise NotImplementedError

    def _join(self, ids: tf.RaggedTensor, replace_invalid: bool) -> tf.Tensor:
        """Returns the texts of tokens, string [N]; see `detokenize`."""
        raise NotImplementedError

    def _hashed_lines(self) -> list[str]:
        """Returns what decides the ids, without the added tokens."""
        raise NotImplementedError

    @property
    def target(self) -> Tokenizer:
        """The tokenizer of texts that a model writes.

        Another one where the texts that it reads have their own.
        """
        return self

    @property
    def is_continuation(self) -> np.ndarray:
        """The tokens that continue a word, bool [V]."""
        raise NotImplementedError

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """What each token adds to a text, in the order of their ids."""
        raise NotImplementedError

    # What every tokenizer has.

    @property
    def vocab(self) -> list[str]:
        """The tokens in the order of their ids."""
        return list(self._vocab)

    @property
    def model_vocab(self) -> list[str]:
        """The tokens without those that were added behind them."""
        return list(self._vocab[: self._num_model_tokens])

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self._vocab)

    @property
    def pad_id(self) -> int:
        """The id that fills rows."""
        return self.row_template.pad

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of special tokens, which texts can be shown without."""
        return frozenset(np.flatnonzero(self.is_special).tolist())

    @property
    def model_ids(self) -> dict[str, int | None]:
        """The ids that a model's config records."""
        return {
            "bos_token_id": self.special.bos,
            "eos_token_id": self.special.eos,
            "pad_token_id": self.pad_id,
        }

    def role_id(self, role: str) -> int:
        """Returns the id of the token in a role of `special`.

        Raises:
            ValueError: The tokenizer has none.
        """
        token_id = getattr(self.special, role)
        if token_id is None:
            raise ValueError(
                f"the tokenizer must have a {role} token (`{role}_token`). "
                f"Received: one of kind {self.kind!r} without. Use the "
                "tokenizer of a model that has one, or name it in its files."
            )
        return token_id

    def token_to_id(self, token: str) -> int:
        """Returns the id of a token; KeyError if there is none."""
        return self._ids[token]

    def id_to_token(self, token_id: int) -> str:
        """Returns the token of an id; IndexError if there is none."""
        if token_id < 0:
            raise IndexError(f"no token has id {token_id}")
        return self._vocab[token_id]

    def token_text(self, token_id: int) -> str:
        """Returns a token as people read it, such as " the" for "Ġthe"."""
        return self.token_bytes[token_id].decode("utf-8", errors="replace")

    def join(self, tokens: Sequence[str]) -> str:
        """Returns the text that tokens spell.

        Args:
            tokens: Tokens of the vocabulary; a tokenizer whose tokens do not
                hold spaces takes other words as well.
        """
        spelled = [self.token_bytes[self._ids[token]] for token in tokens]
        return b"".join(spelled).decode("utf-8", errors="replace")

    def put_token(self, before: str, token_id: int, after: str) -> str:
        """Returns a text with a token in the place of its mask.

        Args:
            before: The text before the mask.
            token_id: The token.
            after: The text behind the mask.
        """
        text = self.token_text(token_id)
        # The space before a mask is part of the token.
        return before.rstrip() + (text if before else text.lstrip()) + after

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Splits each text into ids, without adding special tokens.

        Args:
            text: string [N].

        Returns:
            int32 ragged [N, (tokens)].
        """
        return self._split(as_vector(text), with_offsets=False)[0]

    def tokenize_with_offsets(
        self, text: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Splits each text into ids and says where each token came from.

        Args:
            text: string [N].

        Returns:
            ids, starts and ends, each int32 ragged [N, (tokens)]: a token was
            read from bytes `start` to `end` (exclusive) of its text.
        """
        ids, starts, ends = self._split(as_vector(text), with_offsets=True)
        return ids, starts, ends

    def detokenize(
        self,
        ids: tf.Tensor | tf.RaggedTensor,
        skip_special_tokens: bool = False,
        replace_invalid: bool = False,
    ) -> tf.Tensor:
        """Joins tokens to texts.

        Args:
            ids: int [N, (tokens)], ragged or dense.
            skip_special_tokens: Whether to leave special tokens out.
            replace_invalid: Whether to put U+FFFD in the place of bytes that
                are not UTF-8, which any cut between tokens may leave.

        Returns:
            string [N].
        """
        if skip_special_tokens:
            ids = self._without_special(ids)
        return self._join(_ragged(ids), replace_invalid)

    def detokenize_after_text(
        self,
        ids: tf.Tensor | tf.RaggedTensor,
        replace_invalid: bool = False,
    ) -> tf.Tensor:
        """Joins tokens that follow other text, as generated ones do.

        Special tokens are left out. A space that opens the tokens stays,
        where `detokenize` takes it for one that opens a text.

        Args:
            ids: int [N, (tokens)], ragged or dense.
            replace_invalid: As for `detokenize`.

        Returns:
            string [N].
        """
        return self._join(self._without_special(ids), replace_invalid)

    def _without_special(
        self, ids: tf.Tensor | tf.RaggedTensor
    ) -> tf.RaggedTensor:
        """Returns ids without those of special tokens."""
        ids = _ragged(ids)
        keep = ~tf.gather(self._skips, ids.flat_values)
        return tf.ragged.boolean_mask(ids, ids.with_flat_values(keep))

    def vocab_hash(self) -> str:
        """Returns a SHA-256 hex digest of everything that affects the ids."""
        roles = self.special_tokens.all()
        added = (repr(t) for t in self._matched if t.content not in roles)
        lines = "\n".join([*self._hashed_lines(), *added])
        return hashlib.sha256(lines.encode()).hexdigest()

    def prompts(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the ids of texts to go on with: opened, but not closed.

        Args:
            text: string [N].

        Returns:
            int32 ragged [N, (tokens)].
        """
        ids = self.tokenize(text)
        if not self.row_template.opens:
            return ids
        opens = tf.constant([self.row_template.opens])  # [1, opens]
        opens = tf.tile(opens, [ids.nrows(tf.int32), 1])  # [N, opens]
        return tf.concat([opens, ids], axis=1)

    def __call__(
        self,
        text: Text,
        text_pair: Text | None = None,
        *,
        add_special_tokens: bool = True,
        padding: Padding = True,
        truncation: bool | None = None,
        max_length: int | None = None,
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Turns texts, or pairs of texts, into the inputs of a model.

        It runs eagerly, in `tf.data` (`dataset.map(tokenizer)`, before or
        after `batch`) and in a SavedModel. Ids and truncation are those of
        Transformers' fast tokenizers, but for these:

        * Special tokens that a text spells are text; see
          `special_tokens_in_text` of WordPieceTokenizer.
        * Two texts for a decoder have its end-of-text token between them, and
          an empty text is its padding token: the rows that tasks learn from.

        Args:
            text: A text, or a list, NumPy array, pandas Series or string
                tensor [N] of texts.
            text_pair: The second text of each, of the same form, or None.
            add_special_tokens: Whether rows have the special tokens of the
                model, such as [CLS] and [SEP].
            padding: True or "longest": fill rows up to the longest one.
                "max_length": up to `max_length`. False: rows keep their
                lengths; several are a `tf.RaggedTensor`.
            truncation: Whether to cut rows to `max_length`, pairs
                longest-first; None: if there is a `max_length`.
            max_length: Tokens of a row, special tokens included.

        Returns:
            `token_ids`, `padding_mask` (1 = token, 0 = padding) and, of
            encoders with segments, `segment_ids`: int32 [T] for one text, and
            int32 [N, T] or ragged [N, (T)] for several.

        Raises:
            ValueError: `text` is no text, has another form than `text_pair`,
                or has half of a surrogate pair; an option has an unknown
                value, or needs `max_length`.

        Example:
            >>> tokenizer = tfllm.tokenizers.load_tokenizer("my_model")
            >>> tokenizer("A text.")["token_ids"].shape
            TensorShape([5])
            >>> x = tokenizer(["A text.", "Another one."], max_length=128)
            >>> task.predict(x)
        """
        cut = max_length is not None if truncation is None else truncation
        check_options(padding, cut, max_length)
        texts = [as_strings(text)]
        if text_pair is not None:
            texts.append(as_strings(text_pair, "text_pair"))
            check_pair(*texts)
        is_single = texts[0].shape.rank == 0
        template = self.row_template
        if not add_special_tokens:
            template = template.without_special_tokens()
        rows = rows_of(
            [self.tokenize(tf.reshape(part, [-1])) for part in texts],
            template,
            max_length if cut else None,
        )
        if add_special_tokens:
            rows = without_empty_rows(rows, template)
        if padding is False and not is_single:
            return rows
        dense = to_dense(rows, template, padding, cut, max_length)
        if is_single:
            # [1, T] -> [T]
            return {name: rows[0] for name, rows in dense.items()}
        return {
            name: tf.ensure_shape(part, [texts[0].shape[0], None])
            for name, part in dense.items()
        }

    def decode(
        self, ids: Ids, skip_special_tokens: bool = False
    ) -> str | list[str]:
        """Turns ids back into text.

        It runs eagerly; use `detokenize` in a graph.

        Args:
            ids: One row of ids, or several: a list, array or tensor, padded
                or ragged.
            skip_special_tokens: Whether to leave special tokens out, padding
                among them.

        Returns:
            A str for one row, a list of str for several. Bytes that are not
            UTF-8, as a cut between tokens may leave, become U+FFFD.

        Raises:
            ValueError: They are no ids of this tokenizer.
        """
        rows, is_single = as_rows(ids)
        for row in rows:
            for token in row:
                if not 0 <= token < self.vocab_size:
                    raise ValueError(
                        "`ids` must be from 0 to "
                        f"{self.vocab_size - 1}, the tokens of this tokenizer. "
                        f"Received: {token}. Is it of another tokenizer?"
                    )
        ragged = tf.ragged.constant(rows, tf.int32, ragged_rank=1)
        joined = self.detokenize(
            ragged, skip_special_tokens, replace_invalid=True
        ).numpy()
        texts = [text.decode("utf-8", errors="replace") for text in joined]
        return texts[0] if is_single else texts


def _check_known(special: SpecialTokens, ids: Mapping[str, int]) -> None:
    """Raises ValueError for special tokens that the vocabulary lacks."""
    for token in (*special.all(), *special.additional):
        if token not in ids:
            raise ValueError(
                "special tokens must be in the vocabulary. Received: "
                f"{token!r}. Add it, or name another."
            )


def _ragged(ids: tf.Tensor | tf.RaggedTensor) -> tf.RaggedTensor:
    """Returns ids [N, (tokens)] as a ragged tensor."""
    if isinstance(ids, tf.RaggedTensor):
        return ids
    return tf.RaggedTensor.from_tensor(ids)
