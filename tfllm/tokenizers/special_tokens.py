"""The tokens that mark structure instead of spelling text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# In the order in which a vocabulary is made.
ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that is matched whole, before a text is split into words.

    Attributes:
        content: Its spelling.
        lstrip: Whether it takes the white space before it.
        rstrip: Whether it takes the white space behind it.
        normalized: Whether it is looked for in the normalized text, as
            "covid" in "COVID".
        special: Whether texts can be shown without it.
    """

    content: str
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False

    def to_json(self, token_id: int) -> dict[str, Any]:
        """Returns the token as an entry of tokenizer.json."""
        return {
            "id": token_id,
            "content": self.content,
            "single_word": False,
            "lstrip": self.lstrip,
            "rstrip": self.rstrip,
            "normalized": self.normalized,
            "special": self.special,
        }


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """Spelling of the token in each role; None where there is none.

    One token may have several roles: `<s>` is `bos` and `cls` of RoBERTa.

    Attributes:
        pad: Fills rows up to the longest one.
        unk: Stands for a word that the vocabulary cannot spell.
        cls: Opens a row, or closes it; its state stands for the whole row.
        sep: Closes a text.
        mask: Stands for a token to predict.
        bos: Opens a text.
        eos: Ends a text.
        additional: Special tokens without a role.
    """

    pad: str | None = None
    unk: str | None = None
    cls: str | None = None
    sep: str | None = None
    mask: str | None = None
    bos: str | None = None
    eos: str | None = None
    additional: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for blank tokens, and a mask with other roles."""
        roles = self.as_dict()
        for role, token in roles.items():
            if not isinstance(token, str) or not token.strip():
                raise ValueError(
                    f"`{role}` must be a token that is not blank. Received: "
                    f"{token!r}. Leave it out if there is none."
                )
        for first, second in (("cls", "sep"), ("pad", "cls"), ("pad", "sep")):
            self._check_differ(first, second)
        for role in roles:
            if role != "mask":
                self._check_differ(role, "mask")

    def _check_differ(self, first: str, second: str) -> None:
        token = getattr(self, first)
        if token is not None and token == getattr(self, second):
            raise ValueError(
                f"`{second}` must differ from `{first}`. Received: {token!r} "
                "for both. Give each its own token."
            )

    def as_dict(self) -> dict[str, str]:
        """Returns the tokens that there are, by role, in the order of ROLES."""
        tokens = {role: getattr(self, role) for role in ROLES}
        return {role: t for role, t in tokens.items() if t is not None}

    def all(self) -> tuple[str, ...]:
        """Returns the tokens with a role, each once, in the order of ROLES."""
        return tuple(dict.fromkeys(self.as_dict().values()))

    def with_roles(self, tokens: Mapping[str, str | None]) -> SpecialTokens:
        """Returns these tokens with those of some roles replaced."""
        roles: dict[str, Any] = dict(tokens)
        return dataclasses.replace(self, **roles)

    def with_additional(self, tokens: Iterable[str]) -> SpecialTokens:
        """Returns these tokens, and others that have no role."""
        more = dict.fromkeys((*self.additional, *tokens))
        additional = tuple(t for t in more if t not in self.all())
        return dataclasses.replace(self, additional=additional)

    def spell(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns tokens as they are spelled.

        Args:
            names: Roles, or tokens.

        Raises:
            ValueError: There is no token in a role.
        """
        if isinstance(names, str):
            raise ValueError(
                "special tokens must be a sequence of roles or tokens. "
                f"Received: {names!r}."
            )
        missing = [n for n in names if n in ROLES and not getattr(self, n)]
        if missing:
            raise ValueError(
                f"the tokenizer must have a {missing[0]} token. Received: one "
                f"with {', '.join(self.as_dict().values()) or 'none'}. Use "
                "that of a model that has one."
            )
        return tuple(getattr(self, n) if n in ROLES else n for n in names)

    def ids(self, ids: Mapping[str, int]) -> SpecialIds:
        """Returns the ids of the tokens.

        Args:
            ids: Token -> id.
        """
        roles = {role: ids[token] for role, token in self.as_dict().items()}
        additional = tuple(ids[token] for token in self.additional)
        return SpecialIds(**roles, additional=additional)


# Those of WordPiece where files name no others.
BERT_TOKENS = SpecialTokens("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Those of a new SentencePiece vocabulary where nothing names others.
LLAMA_TOKENS = SpecialTokens(unk="<unk>", bos="<s>", eos="</s>")


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """Id of the token in each role of `SpecialTokens`; None without one."""

    pad: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    bos: int | None = None
    eos: int | None = None
    additional: tuple[int, ...] = ()
