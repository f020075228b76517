"""Frozen, validated configs of the layers.

A config is the only constructor argument of its layer, so that data describe
a family. A switch enters here when a second family needs it.
"""

import dataclasses
from typing import Literal

from tfllm.layers.fields import (
    check_literals,
    check_not_negative,
    check_optional_positive,
    check_positive,
    check_positive_number,
    check_rate,
    check_spread,
    is_finite,
)
from tfllm.layers.position_config import (
    LearnedPositionsConfig,
    PositionsConfig,
    SinusoidalPositionsConfig,
)

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]


@dataclasses.dataclass(frozen=True)
class NormConfig:
    """Layer normalization (Ba et al., 2016) or RMSNorm (Zhang, 2019).

    Attributes:
        hidden_size: Width of the normalized axis.
        kind: "layer_norm" or "rms_norm" (no mean, no bias).
        epsilon: Added to the variance.
        affine: Multiply by a trained scale, and add a trained bias.
    """

    hidden_size: int
    kind: Literal["layer_norm", "rms_norm"] = "layer_norm"
    epsilon: float = 1e-12
    affine: bool = True

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "hidden_size")
        check_positive_number(self, "epsilon")


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """Multi-head attention.

    Attributes:
        hidden_size: Width of the input and the output, D.
        num_heads: Query heads, N.
        num_kv_heads: Key/value heads, K; None means N. N must be a multiple
            (grouped-query attention, Ainslie et al., 2023).
        head_dim: Width of one head, H; None means D / N.
        use_bias: Biases in the projections to queries, keys and values.
        output_bias: A bias in the output projection; None means `use_bias`.
        scale: Factor on the scores; None means H ** -0.5.
        dropout: Rate on the attention probabilities.
        causal: A query sees only keys at its own position or before.
        window: Number of keys that a query sees, its own and those just
            before it (Beltagy et al., 2020, section 3.1); None for all.
        initializer_range: Standard deviation of the truncated normal.
        query_initializer_range: Standard deviation for the projection to
            queries; None means `initializer_range`.
        output_initializer_range: Standard deviation for the output
            projection; None means `initializer_range`.
    """

    hidden_size: int
    num_heads: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    use_bias: bool = True
    output_bias: bool | None = None
    scale: float | None = None
    dropout: float = 0.0
    causal: bool = False
    window: int | None = None
    initializer_range: float = 0.02
    query_initializer_range: float | None = None
    output_initializer_range: float | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "hidden_size", "num_heads")
        check_optional_positive(self, "num_kv_heads", "head_dim", "window")
        check_rate(self, "dropout")
        check_spread(
            self,
            "initializer_range",
            "query_initializer_range",
            "output_initializer_range",
        )
        if self.scale is not None and not is_finite(self.scale):
            raise ValueError(
                "`scale` must be a finite number or None. "
                f"Received: {self.scale!r}"
            )
        if self.window is not None and not self.causal:
            raise ValueError(
                "`window` must be None unless `causal` is true. "
                f"Received: {self.window}"
            )
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
    def has_output_bias(self) -> bool:
        """Whether the output projection has a bias."""
        return self.use_bias if self.output_bias is None else self.output_bias

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
        dropout: Rate on the input of the output projection.
        initializer_range: Standard deviation of the truncated normal.
        output_initializer_range: Standard deviation for the output
            projection; None means `initializer_range`.
    """

    hidden_size: int
    intermediate_size: int
    activation: Activation = "gelu"
    gated: bool = False
    use_bias: bool = True
    dropout: float = 0.0
    initializer_range: float = 0.02
    output_initializer_range: float | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "hidden_size", "intermediate_size")
        check_rate(self, "dropout")
        check_spread(self, "initializer_range", "output_initializer_range")


@dataclasses.dataclass(frozen=True)
class BlockConfig:
    """One transformer block: attention and a feed-forward network.

    Attributes:
        attention: Self-attention.
        feed_forward: Feed-forward network.
        norm: Every normalization of the block.
        norm_placement: "post" normalizes the sum (Vaswani et al., 2017),
            "pre" the input of each sub-layer (Xiong et al., 2020).
        dropout: Rate on the output of each sub-layer.
        cross_attention: Attention to the encoder's output, after the
            self-attention, or None.
    """

    attention: AttentionConfig
    feed_forward: FeedForwardConfig
    norm: NormConfig
    norm_placement: Literal["post", "pre"] = "post"
    dropout: float = 0.0
    cross_attention: AttentionConfig | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_rate(self, "dropout")
        widths = {
            self.attention.hidden_size,
            self.feed_forward.hidden_size,
            self.norm.hidden_size,
        }
        if self.cross_attention is not None:
            widths.add(self.cross_attention.hidden_size)
        if len(widths) > 1:
            raise ValueError(
                "`attention`, `feed_forward` and `norm` must have one "
                f"`hidden_size`. Received: {sorted(widths)}"
            )
        if self.cross_attention is not None and self.cross_attention.causal:
            raise ValueError(
                "`cross_attention.causal` must be false: a decoder sees the "
                "whole source. Received: true"
            )


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig:
    """Token embeddings, and positions and segments added to them.

    Attributes:
        vocab_size: Rows of the token table, V.
        hidden_size: Width of the output, D.
        embedding_size: Width of the token table, E; None means D.
        projection: Input of a dense layer from E to D: the "tokens" (OPT), or
            the "sum" with positions and segments, normalized (ALBERT). None
            for no such layer.
        projection_bias: Add a bias in that layer.
        scale: Factor on the token embeddings.
        positions: Config of the positions, or None. Rotary positions and
            relative biases act in the attention, not here.
        num_segments: Rows of the segment table; 0 for none.
        norm: Normalization of the sum, or None.
        dropout: Rate after the normalization.
        initializer_range: Standard deviation of the truncated normal.
        has_token_table: False for a stack that reads the table of another
            stack.
    """

    vocab_size: int
    hidden_size: int
    embedding_size: int | None = None
    projection: Literal["tokens", "sum"] | None = None
    projection_bias: bool = True
    scale: float = 1.0
    positions: PositionsConfig | None = None
    num_segments: int = 0
    norm: NormConfig | None = None
    dropout: float = 0.0
    initializer_range: float = 0.02
    has_token_table: bool = True

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "vocab_size", "hidden_size")
        check_optional_positive(self, "embedding_size")
        check_not_negative(self, "num_segments")
        check_rate(self, "dropout")
        check_spread(self, "initializer_range")
        check_positive_number(self, "scale")
        if self.projection not in (None, "tokens", "sum"):
            raise ValueError(
                "`projection` must be 'tokens', 'sum' or None. "
                f"Received: {self.projection!r}"
            )
        if self.projection is None and self.table_size != self.hidden_size:
            raise ValueError(
                "`embedding_size` must be `hidden_size` without a "
                f"`projection`. Received: {self.table_size} and "
                f"{self.hidden_size}"
            )
        if self.norm is not None and self.norm.hidden_size != self.sum_size:
            raise ValueError(
                f"`norm` must have the width of the sum, {self.sum_size}. "
                f"Received: {self.norm.hidden_size}"
            )
        sinusoidal = isinstance(
            self.positions, SinusoidalPositionsConfig
        ) or getattr(self.positions, "sinusoidal", False)
        if sinusoidal and self.sum_size % 2:
            raise ValueError(
                "sinusoidal `positions` need an even width. "
                f"Received: {self.sum_size}"
            )

    @property
    def table_size(self) -> int:
        """Width of the token table, E."""
        return self.embedding_size or self.hidden_size

    @property
    def sum_size(self) -> int:
        """Width of the sum of tokens, positions and segments."""
        return (
            self.hidden_size if self.projection == "tokens" else self.table_size
        )

    @property
    def adds_positions(self) -> bool:
        """Whether positions are added to the token embeddings."""
        return isinstance(
            self.positions, (LearnedPositionsConfig, SinusoidalPositionsConfig)
        )
