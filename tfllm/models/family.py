"""What a family file says about its family."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tfllm.layers.config import Activation
from tfllm.models.config import TransformerConfig

# Published names of the activations.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
# Ours -> the first published name.
PUBLISHED_ACTIVATIONS = {
    ours: published for published, ours in reversed(ACTIVATIONS.items())
}


@dataclasses.dataclass(frozen=True)
class Weight:
    """One published tensor and the variable of ours that holds it.

    Attributes:
        published: Name in the family's safetensors files.
        path: Attributes from the model to our variable, dotted.
        transform: "transpose" if the published matrix is (out, in).
        columns: (start, stop) on the last axis of our variable, if it holds
            several published tensors side by side; None if it is the whole.
    """

    published: str
    path: str
    transform: Literal["copy", "transpose"] = "copy"
    columns: tuple[int, int] | None = None


def norm_weights(published: str, path: str) -> list[Weight]:
    """Returns the two weights of a layer normalization."""
    return [
        Weight(f"{published}.weight", f"{path}.scale"),
        Weight(f"{published}.bias", f"{path}.bias"),
    ]


def dense_weights(
    published: str,
    path: str,
    transform: Literal["copy", "transpose"] = "copy",
    columns: tuple[int, int] | None = None,
) -> list[Weight]:
    """Returns the two weights of a dense layer.

    Args:
        published: Name of the layer.
        path: Ours.
        transform: Of the matrix; see `Weight`.
        columns: Of both; see `Weight`.
    """
    return [
        Weight(f"{published}.weight", f"{path}.kernel", transform, columns),
        Weight(f"{published}.bias", f"{path}.bias", "copy", columns),
    ]


def read_activation(
    values: dict[str, Any], name: str, default: str
) -> Activation:
    """Returns the activation that a published config.json names.

    Raises:
        ValueError: It is not known.
    """
    published = values.get(name, default)
    if published not in ACTIVATIONS:
        raise ValueError(
            f"`{name}` must be one of {sorted(ACTIVATIONS)}. "
            f"Received: {published!r}"
        )
    return ACTIVATIONS[published]


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
            ours: buffers.
        tied: Published name of a tied copy -> of its original. Files may
            hold the copy, the original, or both with one value.
        architectures: "pretraining" (with a sequence head), "masked_lm",
            "causal_lm", "encoder" (no head) and the heads of
            `tfllm.models.task_models` -> published class names.
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
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    architectures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    legacy_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tokenizer: Literal["wordpiece", "byte_bpe"] = "wordpiece"

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
