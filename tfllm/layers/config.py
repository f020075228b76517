"""Frozen, validated settings of the layers.

A layer takes one of these and nothing else, so a family is described by
data. A switch enters here when a second family needs it.
"""

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar

ConfigT = TypeVar("ConfigT")

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a config dataclass as nested plain dicts, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(cls: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """Builds a config dataclass from nested plain dicts.

    Args:
        cls: The dataclass to build.
        values: Field values; nested configs as dicts.

    Returns:
        An instance of `cls`.

    Raises:
        ValueError: `values` has a name that `cls` does not have.
    """
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"`{cls.__name__}` has no such fields; known are "
            f"{sorted(hints)}. Received: {unknown}"
        )
    built = {}
    for name, value in values.items():
        nested = _dataclass_in(hints[name])
        built[name] = (
            from_dict(nested, value)
            if nested is not None and isinstance(value, dict)
            else value
        )
    return cls(**built)


def _dataclass_in(hint: Any) -> type | None:
    """Returns the dataclass in a hint such as `NormConfig | None`."""
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (types.UnionType, typing.Union)
        else (hint,)
    )
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            return option
    return None


def check_literals(config: Any) -> None:
    """Raises ValueError if a `Literal` field holds another value."""
    for name, hint in typing.get_type_hints(type(config)).items():
        if typing.get_origin(hint) is Literal:
            allowed = typing.get_args(hint)
            if getattr(config, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {list(allowed)}. "
                    f"Received: {getattr(config, name)!r}"
                )


def check_positive(config: Any, *names: str) -> None:
    """Raises ValueError if one of the fields is not a positive integer."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {value!r}"
            )


def check_rate(config: Any, *names: str) -> None:
    """Raises ValueError if one of the fields is not in [0, 1)."""
    for name in names:
        value = getattr(config, name)
        if not 0.0 <= value < 1.0:
            raise ValueError(
                f"`{name}` must be at least 0 and below 1. Received: {value!r}"
            )


@dataclasses.dataclass(frozen=True)
class NormConfig:
    """Layer normalization (Ba et al., 2016) or RMSNorm (Zhang, 2019).

    Attributes:
        hidden_size: Width of the normalized axis.
        kind: "layer_norm" or "rms_norm" (no mean, no bias).
        epsilon: Added to the variance.
    """

    hidden_size: int
    kind: Literal["layer_norm", "rms_norm"] = "layer_norm"
    epsilon: float = 1e-12

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "hidden_size")
        if self.epsilon <= 0.0:
            raise ValueError(
                f"`epsilon` must be positive. Received: {self.epsilon!r}"
            )


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """Multi-head attention.

    Attributes:
        hidden_size: Width of the input and the output, D.
        num_heads: Query heads, N.
        num_kv_heads: Key/value heads, K; None means N. N must be a multiple
            (grouped-query attention, Ainslie et al., 2023).
        head_dim: Width of one head, H; None means D / N.
        use_bias: Biases in the projections.
        scale: Factor on the scores; None means H ** -0.5.
        dropout: Rate on the attention probabilities.
        causal: A query sees only keys at its own position or before.
        initializer_range: Standard deviation of the truncated normal.
        output_initializer_range: That of the output projection; None means
            `initializer_range`.
    """

    hidden_size: int
    num_heads: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    use_bias: bool = True
    scale: float | None = None
    dropout: float = 0.0
    causal: bool = False
    initializer_range: float = 0.02
    output_initializer_range: float | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "hidden_size", "num_heads")
        check_rate(self, "dropout")
        if self.head_dim is None and self.hidden_size % self.num_heads:
            raise ValueError(
                "`hidden_size` must be a multiple of `num_heads` unless "
                f"`head_dim` is given. Received: hidden_size="
                f"{self.hidden_size}, num_heads={self.num_heads}"
            )
        if self.num_heads % self.kv_heads:
            raise ValueError(
                "`num_heads` must be a multiple of `num_kv_heads`. Received: "
                f"num_heads={self.num_heads}, num_kv_heads={self.kv_heads}"
            )

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads, K."""
        return self.num_kv_heads or self.num_heads

    @property
    def head_size(self) -> int:
        """Width of one head, H."""
        return self.head_dim or self.hidden_size // self.num_heads

    @property
    def score_scale(self) -> float:
        """Factor on the scores."""
        return self.head_size**-0.5 if self.scale is None else self.scale


@dataclasses.dataclass(frozen=True)
class FeedForwardConfig:
    """Position-wise feed-forward network.

    Attributes:
        hidden_size: Width of the input and the output, D.
        intermediate_size: Inner width, F.
        activation: "gelu" is the exact (erf) form, "gelu_tanh" the
            approximation of Hendrycks and Gimpel, 2016.
        gated: Multiply the activation by a second projection (Shazeer,
            2020).
        use_bias: Biases in the projections.
        initializer_range: Standard deviation of the truncated normal.
        output_initializer_range: That of the output projection; None means
            `initializer_range`.
    """

    hidden_size: int
    intermediate_size: int
    activation: Activation = "gelu"
    gated: bool = False
    use_bias: bool = True
    initializer_range: float = 0.02
    output_initializer_range: float | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "hidden_size", "intermediate_size")


@dataclasses.dataclass(frozen=True)
class BlockConfig:
    """One transformer block: self-attention and a feed-forward network.

    Attributes:
        attention: Self-attention.
        feed_forward: Feed-forward network.
        norm: Both normalizations.
        norm_placement: "post" normalizes the sum (Vaswani et al., 2017),
            "pre" the input of each sub-layer (Xiong et al., 2020).
        dropout: Rate on the output of each sub-layer.
    """

    attention: AttentionConfig
    feed_forward: FeedForwardConfig
    norm: NormConfig
    norm_placement: Literal["post", "pre"] = "post"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_rate(self, "dropout")
        widths = {
            self.attention.hidden_size,
            self.feed_forward.hidden_size,
            self.norm.hidden_size,
        }
        if len(widths) > 1:
            raise ValueError(
                "`attention`, `feed_forward` and `norm` must have one "
                f"`hidden_size`. Received: {sorted(widths)}"
            )


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig:
    """Sum of token, position and segment embeddings.

    Attributes:
        vocab_size: Rows of the token table, V.
        hidden_size: Width of the tables, D.
        max_position_embeddings: Rows of the learned position table; 0 for
            a model without one.
        num_segments: Rows of the segment table; 0 for none.
        norm: Normalization of the sum, or None.
        dropout: Rate after the normalization.
        initializer_range: Standard deviation of the truncated normal.
    """

    vocab_size: int
    hidden_size: int
    max_position_embeddings: int = 0
    num_segments: int = 0
    norm: NormConfig | None = None
    dropout: float = 0.0
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "vocab_size", "hidden_size")
        check_rate(self, "dropout")
