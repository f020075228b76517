"""How a model reads texts to write after: as a prompt, or as a source.

Everything here runs in the graph, but for `cut_row`, for one row in Python.
"""

from typing import ClassVar, Protocol

import tensorflow as tf

from tfllm.models import TransformerConfig
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.rows import rows_of


class Prompts(Protocol):
    """Texts to ids, and written ids to texts.

    Attributes:
        goes_on: Whether the model goes on with the text that it reads.
    """

    goes_on: ClassVar[bool]

    def read(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the ids of texts, string [B] to int32 ragged [B, (T)]."""

    def room(self, length: int, max_new_tokens: int) -> int:
        """Returns the most tokens to read.

        Args:
            length: Longest sequence of the model.
            max_new_tokens: Tokens to write.
        """

    def cut(self, ids: tf.RaggedTensor, room: int) -> tf.RaggedTensor:
        """Shortens rows to `room` tokens, int32 ragged [B, (T)]."""

    def cut_row(self, ids: list[int], room: int) -> list[int]:
        """Shortens one row to `room` tokens."""

    def spell(
        self, ids: tf.RaggedTensor, replace_invalid: bool = False
    ) -> tf.Tensor:
        """Returns the texts of written ids, string [B].

        Args:
            ids: int32 ragged [B, (T)].
            replace_invalid: Whether U+FFFD replaces bytes that are not UTF-8.
        """


class DecoderPrompts:
    """Prompts of a decoder, which goes on with them.

    Rows are opened, but not closed, and cut at their beginning.

    Args:
        tokenizer: Tokenizer of the model.
    """

    goes_on: ClassVar[bool] = True

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def read(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the ids of texts."""
        return self._tokenizer.prompts(text)

    def room(self, length: int, max_new_tokens: int) -> int:
        """Returns the most tokens to read: new ones need the rest."""
        return length - max_new_tokens

    def cut(self, ids: tf.RaggedTensor, room: int) -> tf.RaggedTensor:
        """Returns the last `room` tokens of rows."""
        lengths = tf.minimum(ids.row_lengths(), room)
        return _gathered(ids, ids.row_limits() - lengths, ids.row_limits())

    def cut_row(self, ids: list[int], room: int) -> list[int]:
        """Returns the last `room` tokens of one row."""
        return ids[-room:]

    def spell(
        self, ids: tf.RaggedTensor, replace_invalid: bool = False
    ) -> tf.Tensor:
        """Returns the texts of written ids, with a space they begin with."""
        return self._tokenizer.detokenize_after_text(
            ids, replace_invalid=replace_invalid
        )


class SourcePrompts:
    """Sources of an encoder, which a decoder writes new texts from.

    Rows are opened and closed as in training, and cut before the tokens that
    close them.

    Args:
        tokenizer: Tokenizer of the model.
    """

    goes_on: ClassVar[bool] = False

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._closes = list(tokenizer.row_template.closes)

    def read(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the rows of texts."""
        ids = self._tokenizer.tokenize(text)
        return rows_of([ids], self._tokenizer.row_template)["token_ids"]

    def room(self, length: int, max_new_tokens: int) -> int:
        """Returns the most tokens to read: new ones are in other rows."""
        return length

    def cut(self, ids: tf.RaggedTensor, room: int) -> tf.RaggedTensor:
        """Returns the beginning of rows, and the tokens that close them."""
        lengths, closes = ids.row_lengths(), len(self._closes)
        is_cut = tf.cast(lengths > room, lengths.dtype)  # [B]
        is_empty = tf.cast(lengths == 0, lengths.dtype)  # [B]
        starts, limits = ids.row_starts(), ids.row_limits()
        head = tf.minimum(lengths, room) - closes * is_cut
        # An encoder reads at least one token.
        alone = tf.tile(
            tf.constant(self._closes, tf.int32), [tf.reduce_sum(is_empty)]
        )
        return tf.concat(
            [
                _gathered(ids, starts, starts + head),
                _gathered(ids, limits - closes * is_cut, limits),
                tf.RaggedTensor.from_row_lengths(alone, closes * is_empty),
            ],
            axis=1,
        )

    def cut_row(self, ids: list[int], room: int) -> list[int]:
        """Returns the beginning of one row, and the tokens that close it."""
        if len(ids) <= room:
            return ids or self._closes
        closes = len(self._closes)
        return ids[: room - closes] + ids[len(ids) - closes :]

    def spell(
        self, ids: tf.RaggedTensor, replace_invalid: bool = False
    ) -> tf.Tensor:
        """Returns the texts of written ids, without special tokens."""
        return self._tokenizer.target.detokenize(
            ids, skip_special_tokens=True, replace_invalid=replace_invalid
        )


def prompts_of(config: TransformerConfig, tokenizer: Tokenizer) -> Prompts:
    """Returns how a model that generates reads texts.

    Args:
        config: Config of the model.
        tokenizer: Tokenizer of the model.
    """
    kind = SourcePrompts if config.reads_both_sides else DecoderPrompts
    return kind(tokenizer)


def _gathered(
    ids: tf.RaggedTensor, starts: tf.Tensor, limits: tf.Tensor
) -> tf.RaggedTensor:
    """Returns a part of each row, by places in the flat values, int64 [B]."""
    places = tf.ragged.range(starts, limits)  # [B, (tokens)]
    return places.with_flat_values(
        tf.gather(ids.flat_values, places.flat_values)
    )
