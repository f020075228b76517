"""The tokens that mark structure instead of spelling text."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """Spelling of the special tokens of a BERT vocabulary.

    Attributes:
        pad: Fills a batch up to its length.
        unk: Stands for a word that the vocabulary cannot spell.
        cls: Opens every input.
        sep: Closes every segment.
        mask: Stands for a token to predict.
    """

    pad: str = "[PAD]"
    unk: str = "[UNK]"
    cls: str = "[CLS]"
    sep: str = "[SEP]"
    mask: str = "[MASK]"

    def __post_init__(self) -> None:
        """Checks that the tokens can be told apart."""
        names: dict[str, str] = {}
        for name, token in self.as_dict().items():
            if not isinstance(token, str) or not token.strip():
                raise ValueError(
                    f"`{name}` must be a token that is not blank. Received: "
                    f"{token!r}. Leave it out to use the published one."
                )
            if token in names:
                raise ValueError(
                    f"`{name}` must differ from `{names[token]}`. Received: "
                    f"{token!r} for both. Give each its own token."
                )
            names[token] = name

    def as_dict(self) -> dict[str, str]:
        """Returns the tokens by role, in the order of the published ids."""
        return dataclasses.asdict(self)

    def all(self) -> tuple[str, ...]:
        """Returns the tokens in the order of `as_dict`."""
        return tuple(self.as_dict().values())
