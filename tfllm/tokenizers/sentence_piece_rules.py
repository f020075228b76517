"""How a SentencePiece tokenizer treats texts, besides what its model says."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfllm.tokenizers.character_steps import Form, Step

# Where "▁" is put: as the model says, before each part of a text ("model");
# before each part that does not begin with one ("each"); before the part that
# opens a text, unless it begins with one ("first"); before the part that opens
# a text, whatever it begins with ("opening"). Added tokens separate the parts.
Prefix = Literal["model", "each", "first", "opening"]


@dataclasses.dataclass(frozen=True)
class TextRules:
    """How texts are treated, where a model cannot say it.

    Attributes:
        prefix: Where "▁" is put before a text.
        splits_words: Whether pieces end before each "▁".
        whole_characters: Whether the places of tokens are those of the
            `tokenizers` package; see `reach_characters`.
        orders_runs: Whether neighbours whose order does not change the text,
            as "==" and "=", have the shortest first; see `RunOrder`.
        form: The form of Unicode that texts are brought to first.
        steps: What normalizes texts instead of the model's normalizer.
    """

    prefix: Prefix = "model"
    splits_words: bool = False
    whole_characters: bool = False
    orders_runs: bool = False
    form: Form | None = None
    steps: tuple[Step, ...] = ()
