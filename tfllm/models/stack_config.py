"""Config of a stack: embeddings and the blocks on top of them."""

import dataclasses

from tfllm.layers.config import BlockConfig, EmbeddingConfig, NormConfig
from tfllm.layers.fields import (
    check_optional_positive,
    check_positive,
    check_rate,
)
from tfllm.layers.position_config import (
    LearnedPositionsConfig,
    RelativeBiasConfig,
    RotaryConfig,
)


@dataclasses.dataclass(frozen=True)
class TwoStreamConfig:
    """A second stream of queries, and memory of the segments before.

    Attributes:
        clamp_distance: All distances from here on count as this one; None:
            no limit.
        memory_length: Tokens before a segment that are remembered; None: all.
        reuse_length: Tokens of a segment, its first ones, that are remembered;
            None: all.
    """

    clamp_distance: int | None = None
    memory_length: int | None = None
    reuse_length: int | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_optional_positive(
            self, "clamp_distance", "memory_length", "reuse_length"
        )


@dataclasses.dataclass(frozen=True)
class StackConfig:
    """Embeddings, and blocks of one config on top of them.

    Attributes:
        embeddings: Input embeddings, with the positions.
        block: Config of every block.
        num_layers: Number of layers, L: how often a block is applied.
        num_groups: Number of groups of blocks with weights; consecutive
            layers share one (Lan et al., 2020, section 3.1). None: a block
            for each layer.
        group_size: Blocks of a group, applied one after another before a
            group is applied again.
        block_kind: Name in `tfllm.models.blocks.BLOCKS` of the layer that
            `block` configures.
        final_norm: Normalization after the last block, or None.
        final_projection: Width of a dense layer without bias after the final
            normalization (Zhang et al., 2022, OPT-350M), or None.
        final_dropout: Rate on the output.
        full_attention_layers: Layers, counted from 0, whose queries see all
            keys in spite of `block.attention.window`.
        scale_scores_by_layer: Divide the attention scores of layer i, counted
            from 1, by i.
        two_stream: Second stream of blocks of the kind "two_stream", or None.
    """

    embeddings: EmbeddingConfig
    block: BlockConfig
    num_layers: int
    num_groups: int | None = None
    group_size: int = 1
    block_kind: str = "transformer"
    final_norm: NormConfig | None = None
    final_projection: int | None = None
    final_dropout: float = 0.0
    full_attention_layers: tuple[int, ...] = ()
    scale_scores_by_layer: bool = False
    two_stream: TwoStreamConfig | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "num_layers", "group_size")
        check_optional_positive(self, "num_groups", "final_projection")
        check_rate(self, "final_dropout")
        width = self.hidden_size
        if self.embeddings.hidden_size != width:
            raise ValueError(
                "`embeddings` and `block` must have one `hidden_size`. "
                f"Received: {self.embeddings.hidden_size} and {width}"
            )
        if self.num_layers % self.num_blocks:
            raise ValueError(
                "`num_layers` must be a multiple of `num_groups` times "
                f"`group_size`. Received: {self.num_layers}, "
                f"{self.num_groups} and {self.group_size}"
            )
        if self.num_groups is None and self.group_size > 1:
            raise ValueError(
                "`group_size` must be 1 without `num_groups`. Received: "
                f"{self.group_size}"
            )
        if self.scale_scores_by_layer and self.num_blocks < self.num_layers:
            raise ValueError(
                "`scale_scores_by_layer` needs a block for each layer. "
                f"Received: num_groups={self.num_groups}"
            )
        if (self.block_kind == "two_stream") != (self.two_stream is not None):
            raise ValueError(
                "`two_stream` and `block_kind` 'two_stream' need each other. "
                f"Received: {self.two_stream} and {self.block_kind!r}"
            )
        layers = set(self.full_attention_layers)
        has_window = self.block.attention.window is not None
        if layers - set(range(self.num_layers if has_window else 0)):
            raise ValueError(
                "`full_attention_layers` must be layers of a stack whose "
                "attention has a `window`. Received: "
                f"{list(self.full_attention_layers)} of {self.num_layers} "
                f"layers, window={self.block.attention.window}"
            )
        self._check_positions()

    def _check_positions(self) -> None:
        """Raises ValueError if the positions do not fit the attention."""
        positions, attention = self.embeddings.positions, self.block.attention
        if isinstance(positions, RotaryConfig) and (
            positions.rotary_size > attention.head_size
        ):
            raise ValueError(
                "`rotary_size` must be at most the width of a head, "
                f"{attention.head_size}. Received: {positions.rotary_size}"
            )
        if isinstance(positions, RelativeBiasConfig) and (
            positions.num_heads != attention.num_heads
        ):
            raise ValueError(
                "the relative bias must have the heads of the attention, "
                f"{attention.num_heads}. Received: {positions.num_heads}"
            )

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states, D."""
        return self.block.attention.hidden_size

    @property
    def output_size(self) -> int:
        """Width of the output of the stack."""
        return self.final_projection or self.hidden_size

    @property
    def is_causal(self) -> bool:
        """Whether a token attends only to itself and those before it."""
        return self.block.attention.causal

    @property
    def num_blocks(self) -> int:
        """Number of blocks that have weights."""
        if self.num_groups is None:
            return self.num_layers
        return self.num_groups * self.group_size

    @property
    def num_group_calls(self) -> int:
        """How often groups are applied, all of them together."""
        return self.num_layers // self.group_size

    def block_index(self, layer: int) -> int:
        """Returns the index of the block that a layer applies."""
        if self.num_groups is None:
            return layer
        call, place = divmod(layer, self.group_size)
        group = call * self.num_groups // self.num_group_calls
        return group * self.group_size + place

    def window_of(self, layer: int) -> int | None:
        """Returns the keys that a query sees in a layer; None for all."""
        if layer in self.full_attention_layers:
            return None
        return self.block.attention.window

    def block_of(self, layer: int) -> BlockConfig:
        """Returns the config of the block of a layer, counted from 0."""
        if not self.scale_scores_by_layer:
            return self.block
        attention = self.block.attention
        scale = attention.score_scale / (layer + 1)
        return dataclasses.replace(
            self.block, attention=dataclasses.replace(attention, scale=scale)
        )

    def with_dropout(self, rate: float) -> "StackConfig":
        """Returns the config with one rate for every dropout."""
        replace = dataclasses.replace
        block, cross = self.block, self.block.cross_attention
        inner = block.feed_forward
        return replace(
            self,
            embeddings=replace(self.embeddings, dropout=rate),
            block=replace(
                block,
                dropout=rate,
                attention=replace(block.attention, dropout=rate),
                # Families without this dropout, or a final one, get none.
                feed_forward=replace(
                    inner, dropout=rate if inner.dropout else 0.0
                ),
                cross_attention=cross and replace(cross, dropout=rate),
            ),
            final_dropout=rate if self.final_dropout else 0.0,
        )

    def with_max_length(self, length: int) -> "StackConfig":
        """Returns the config with a table of positions for this length."""
        replace = dataclasses.replace
        positions = self.embeddings.positions
        if not isinstance(positions, LearnedPositionsConfig):
            return self
        positions = replace(positions, rows=length + positions.offset)
        return replace(
            self, embeddings=replace(self.embeddings, positions=positions)
        )

    def with_vocab_size(self, size: int) -> "StackConfig":
        """Returns the config with a token table for another vocabulary."""
        replace = dataclasses.replace
        return replace(
            self, embeddings=replace(self.embeddings, vocab_size=size)
        )
