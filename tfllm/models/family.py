"""What a family file says about its family."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tfllm.models.config import TransformerConfig


@dataclasses.dataclass(frozen=True)
class Weight:
    """One published tensor and the variable of ours that holds it.

    Attributes:
        published: Name in the family's safetensors files.
        path: Attributes from the model to our variable, dotted.
        transform: "transpose" if the published matrix is (out, in).
        part: (index, count) if our variable holds `count` published tensors
            side by side on its last axis, of which this is number `index`;
            None if it is the whole.
    """

    published: str
    path: str
    transform: Literal["copy", "transpose"] = "copy"
    part: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """A model family as data: its sizes, its published layout.

    Attributes:
        name: Name in `FAMILIES`, equal to `model_type` in config.json.
        paper: Citation.
        sizes: Size name -> keyword arguments of `config`.
        config: Builds a TransformerConfig from plain numbers.
        from_published: config.json (as a dict) -> TransformerConfig.
        to_published: TransformerConfig -> config.json (as a dict).
        weights: All weights of a model with the heads given; see
            `weight_map` of the family file.
        prefix: Published prefix that files of bare encoders leave out.
        ignored: Regular expressions of published names without a weight of
            ours: buffers, tied copies.
        legacy_names: Old spelling -> new, replaced in published names.
        tokenizer: Kind of tokenizer in `tfllm.tokenizers`.
    """

    name: str
    paper: str
    sizes: Mapping[str, Mapping[str, Any]]
    config: Callable[..., TransformerConfig]
    from_published: Callable[[dict[str, Any]], TransformerConfig]
    to_published: Callable[[TransformerConfig], dict[str, Any]]
    weights: Callable[[TransformerConfig], list[Weight]]
    prefix: str
    ignored: tuple[str, ...] = ()
    legacy_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tokenizer: Literal["wordpiece"] = "wordpiece"

    def size(self, name: str, **overrides: Any) -> TransformerConfig:
        """Returns the config of a named size.

        Args:
            name: One of `sizes`.
            **overrides: Arguments of `config` to replace, e.g. vocab_size.

        Raises:
            ValueError: There is no such size.
        """
        if name not in self.sizes:
            raise ValueError(
                f"`model` {self.name} has the sizes {sorted(self.sizes)}. "
                f"Received: {name!r}"
            )
        return self.config(**{**self.sizes[name], **overrides})
