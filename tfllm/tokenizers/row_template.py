"""What a model's rows look like: special tokens around one or two texts.

| model   | one text          | two texts                 |
|---------|-------------------|---------------------------|
| BERT    | `[CLS] a [SEP]`   | `[CLS] a [SEP] b [SEP]`   |
| RoBERTa | `<s> a </s>`      | `<s> a </s></s> b </s>`   |
| GPT-2   | `a`               | `a <|endoftext|> b`       |
| LLaMA   | `<s> a`           | `<s> a <s> b`             |
| T5      | `a </s>`          | `a </s> b </s>`           |
| XLNet   | `a <sep> <cls>`   | `a <sep> b <sep> <cls>`   |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

from tfllm.tokenizers.special_tokens import ROLES, SpecialTokens

Side = Literal["right", "left"]
TokenT = TypeVar("TokenT", str, int)


@dataclasses.dataclass(frozen=True)
class Segments:
    """Segment ids of the parts of a row.

    Special tokens belong to the text before them; those that open a row, to
    the first text.

    Attributes:
        first: Of the first text.
        second: Of the second text.
        last: Of the token that ends a row; None: that of the text before it.
        pad: Of padding.
    """

    first: int = 0
    second: int = 1
    last: int | None = None
    pad: int = 0

    def of_text(self, number: int) -> int:
        """Returns the segment id of the first (0) or second (1) text."""
        return (self.first, self.second)[number]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowTemplate(Generic[TokenT]):
    """Special tokens around one or two texts.

    A family file states a `RowTemplate[str]` of roles, as "cls"; a file may
    name tokens by their spelling instead. A tokenizer has the
    `RowTemplate[int]` of its ids.

    Attributes:
        pad: Fills rows.
        opens: Before the first text.
        between: After it, if a second one follows.
        closes: After the last one.
        segments: Segment ids; None: the model does not tell texts apart.
        padding_side: Where padding stands.
    """

    pad: TokenT
    opens: tuple[TokenT, ...] = ()
    between: tuple[TokenT, ...] = ()
    closes: tuple[TokenT, ...] = ()
    segments: Segments | None = None
    padding_side: Side = "right"

    @property
    def has_segments(self) -> bool:
        """Whether the model tells texts apart."""
        return self.segments is not None

    def num_special(self, num_texts: int) -> int:
        """Returns the special tokens of a row of one or two texts."""
        pair = len(self.between) if num_texts == 2 else 0
        return len(self.opens) + pair + len(self.closes)

    def without_special_tokens(self) -> RowTemplate[TokenT]:
        """Returns the template of rows that hold texts alone."""
        return dataclasses.replace(self, opens=(), between=(), closes=())


def spelled(
    template: RowTemplate[str], tokens: SpecialTokens
) -> RowTemplate[str]:
    """Returns a template with tokens as they are spelled.

    Roles without a token are left out.

    Args:
        template: Roles, or tokens as they are spelled.
        tokens: The tokens by role.
    """

    def spell(names: tuple[str, ...]) -> tuple[str, ...]:
        spellings = [getattr(tokens, n) if n in ROLES else n for n in names]
        return tuple(token for token in spellings if token is not None)

    return dataclasses.replace(
        template,
        opens=spell(template.opens),
        between=spell(template.between),
        closes=spell(template.closes),
    )


def bind(
    template: RowTemplate[str], tokens: SpecialTokens, ids: Mapping[str, int]
) -> RowTemplate[int]:
    """Returns a template with the ids of a tokenizer.

    Without a padding token, the token of the role that `pad` names fills
    rows, or else the one that ends a text. A tokenizer without these has id 0
    there, which the padding mask hides.

    Args:
        template: Roles, or tokens as they are spelled.
        tokens: The tokens by role.
        ids: Token -> id.

    Raises:
        KeyError: The vocabulary lacks a token.
    """
    pad = tokens.pad or getattr(tokens, template.pad) or tokens.eos
    by_name = spelled(template, tokens)
    return RowTemplate(
        pad=0 if pad is None else ids[pad],
        opens=tuple(ids[token] for token in by_name.opens),
        between=tuple(ids[token] for token in by_name.between),
        closes=tuple(ids[token] for token in by_name.closes),
        segments=template.segments,
        padding_side=template.padding_side,
    )
