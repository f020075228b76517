"""The tokenizer of a model family, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens

Kind = Literal[
    "wordpiece",
    "byte_bpe",
    "word_bpe",
    "sentence_piece",
    "mapped_sentence_piece",
]


@dataclasses.dataclass(frozen=True)
class TokenizerSpec:
    """The tokenizer of a family, as data.

    Where the files of a tokenizer say otherwise, they win.

    Attributes:
        kinds: Kinds of tokenizers that the family reads; a new vocabulary is
            of the first.
        template: The rows of the model, in roles.
        special_tokens: The special tokens of a new vocabulary. Those that a
            vocabulary has count where its files name none.
        special_first: They have its first ids, not its last ones.
        added_tokens: Special tokens that are matched with other flags than
            the default, such as a mask that takes the space before it.
        arguments: More arguments of the tokenizer of a new vocabulary, and of
            one of the same kind whose files are silent.
        training: Fields of the training config of a new vocabulary, where
            they differ from its defaults.
        classes: Names in `tokenizer_class` of tokenizer_config.json. A saved
            tokenizer gets the first one that gives its ids.
    """

    kinds: tuple[Kind, ...]
    template: RowTemplate[str]
    special_tokens: SpecialTokens
    special_first: bool = False
    added_tokens: tuple[AddedToken, ...] = ()
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """The kind of a new vocabulary."""
        return self.kinds[0]
