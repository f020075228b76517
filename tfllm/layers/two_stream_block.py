"""A block with two streams: one that holds tokens, one that predicts them."""

from typing import Any, NamedTuple

from keras import ops

from tfllm.layers.config import BlockConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.feed_forward import FeedForward
from tfllm.layers.kv_cache import KVCache
from tfllm.layers.linear import take_positions
from tfllm.layers.normalization import Norm
from tfllm.layers.relative_attention import (
    Distances,
    RelativeAttention,
    Source,
)


class QueryStream(NamedTuple):
    """States that predict tokens which they do not see.

    Attributes:
        states: float [B, P, D].
        distances: Distances of these queries.
        mask_penalty: float32 [B, 1, P, S] subtracted from their scores.
    """

    states: Any
    distances: Distances
    mask_penalty: Any


class TwoStreamBlock(ConfiguredLayer):
    """Relative attention and a feed-forward network, for one stream or two.

    Args:
        config: BlockConfig with its norms after each sub-layer.

    Call args: Those of TransformerBlock with Distances as `positions` and
        without a `memory`, and
        queries: QueryStream, or None. It shares the weights of the content
            stream x, and attends to it.
        past: float [B, M, D], states before x that are attended to, or None.

    Returns:
        float [B, P or T, D] and the cache with x appended (None without
        one); with `queries`, their new states float [B, P, D] come third.

    Reference: Yang et al., 2019, sections 2.3 and 2.4.
    """

    config_class = BlockConfig

    def __init__(self, config: BlockConfig, **kwargs: Any) -> None:
        super().__init__(config, autocast=False, **kwargs)
        if config.norm_placement != "post" or config.cross_attention:
            raise ValueError(
                "a block with two streams must have `norm_placement` 'post' "
                "and no `cross_attention`. Received: "
                f"{config.norm_placement!r}, {config.cross_attention}"
            )
        policy = self.dtype_policy
        self.attention = RelativeAttention(
            config.attention, name="attention", dtype=policy
        )
        self.attention_norm = Norm(
            config.norm, name="attention_norm", dtype=policy
        )
        self.feed_forward = FeedForward(
            config.feed_forward, name="feed_forward", dtype=policy
        )
        self.feed_forward_norm = Norm(
            config.norm, name="feed_forward_norm", dtype=policy
        )
        self.distance_dropout, self.attention_dropout, self.output_dropout = (
            Dropout(config.dropout, name=f"{name}_dropout", dtype=policy)
            for name in ("distance", "attention", "output")
        )

    def call(
        self,
        x: Any,
        output_positions: Any = None,
        mask_penalty: Any = None,
        positions: Distances | None = None,
        cache: KVCache | None = None,
        memory: None = None,
        memory_penalty: None = None,
        training: bool = False,
        queries: QueryStream | None = None,
        past: Any = None,
    ) -> tuple[Any, ...]:
        """Returns the new states, the cache, and those of the queries."""
        assert positions is not None, "relative attention needs distances"
        x = ops.cast(x, self.compute_dtype)
        keys = x
        if past is not None:
            past = ops.cast(past, x.dtype)
            keys = ops.concatenate([past, x], axis=1)  # [B, M + T, D]
        sinusoids = ops.cast(positions.sinusoids, x.dtype)
        source, cache = self.attention.read(
            keys, self.distance_dropout(sinusoids, training=training), cache
        )
        if output_positions is not None:
            x = take_positions(x, output_positions)  # [B, P, D]
            positions = positions.at(output_positions)
        y = self._of_stream(x, source, positions, mask_penalty, training)
        if queries is None:
            return y, cache
        predicted = self._of_stream(
            ops.cast(queries.states, x.dtype),
            source,
            queries.distances,
            queries.mask_penalty,
            training,
        )
        return y, cache, predicted

    def _of_stream(
        self,
        x: Any,
        source: Source,
        distances: Distances,
        mask_penalty: Any,
        training: bool,
    ) -> Any:
        """Returns the states of one stream after both sub-layers."""
        y = self.attention(
            x,
            source=source,
            distances=distances,
            mask_penalty=mask_penalty,
            training=training,
        )
        x = self.attention_norm(
            x + self.attention_dropout(y, training=training)
        )
        y = self.output_dropout(
            self.feed_forward(x, training=training), training=training
        )
        return self.feed_forward_norm(x + y)
