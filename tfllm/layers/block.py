"""One transformer block."""

from typing import Any

from keras import ops

from tfllm.layers.attention import Attention, AttentionPositions
from tfllm.layers.config import BlockConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.feed_forward import FeedForward
from tfllm.layers.kv_cache import KVCache, Memory
from tfllm.layers.linear import take_positions
from tfllm.layers.normalization import Norm


class TransformerBlock(ConfiguredLayer):
    """Attention and a feed-forward network, each with a residual.

    Args:
        config: BlockConfig.

    Call args:
        x: float [B, T, D].
        output_positions: int32 [B, P], the positions to compute, or None for
            all. The others only serve as keys and values.
        mask_penalty: float32 [B, 1, 1 or T, S] or None; see Attention. With
            `output_positions` it must be the same for all queries.
        positions: Rotation, ScoreBias or None; see Attention.
        cache: KVCache or None.
        memory: Keys and values of the cross-attention, from `Attention.read`;
            needed if the config has a cross-attention.
        memory_penalty: float32 [B, 1, 1, S] subtracted from its scores, or
            None.
        training: Apply dropout.

    Returns:
        float [B, P or T, D] and the cache with x appended (None without
        one).

    Reference: Vaswani et al., 2017, section 3.1; Xiong et al., 2020.
    """

    config_class = BlockConfig

    def __init__(self, config: BlockConfig, **kwargs: Any) -> None:
        # See Attention: the mask stays in float32.
        super().__init__(config, autocast=False, **kwargs)
        policy = self.dtype_policy
        self.attention = Attention(
            config.attention, name="attention", dtype=policy
        )
        self.attention_norm = Norm(
            config.norm, name="attention_norm", dtype=policy
        )
        self.cross_attention = self.cross_attention_norm = None
        if config.cross_attention is not None:
            self.cross_attention = Attention(
                config.cross_attention, name="cross_attention", dtype=policy
            )
            self.cross_attention_norm = Norm(
                config.norm, name="cross_attention_norm", dtype=policy
            )
            self.cross_attention_dropout = Dropout(
                config.dropout, name="cross_attention_dropout", dtype=policy
            )
        self.feed_forward = FeedForward(
            config.feed_forward, name="feed_forward", dtype=policy
        )
        self.feed_forward_norm = Norm(
            config.norm, name="feed_forward_norm", dtype=policy
        )
        self.attention_dropout = Dropout(
            config.dropout, name="attention_dropout", dtype=policy
        )
        self.feed_forward_dropout = Dropout(
            config.dropout, name="feed_forward_dropout", dtype=policy
        )

    def call(
        self,
        x: Any,
        output_positions: Any = None,
        mask_penalty: Any = None,
        positions: AttentionPositions | None = None,
        cache: KVCache | None = None,
        memory: Memory | None = None,
        memory_penalty: Any = None,
        training: bool = False,
    ) -> tuple[Any, KVCache | None]:
        """Returns x [B, P or T, D] after both sub-layers, and the cache."""
        pre = self.config.norm_placement == "pre"
        x = ops.cast(x, self.compute_dtype)
        source = self.attention_norm(x) if pre else x
        rows = None
        if output_positions is not None:
            rows = take_positions(source, output_positions)  # [B, P, D]
            x = (
                take_positions(x, output_positions) if pre else rows
            )  # [B, P, D]
            positions = positions and positions.at(output_positions)
        y, cache = self.attention(
            source,
            queries_from=rows,
            mask_penalty=mask_penalty,
            positions=positions,
            cache=cache,
            training=training,
        )
        x = x + self.attention_dropout(y, training=training)
        if not pre:
            x = self.attention_norm(x)
        if self.cross_attention is not None:
            x = self._read_memory(x, memory, memory_penalty, training)
        y = self.feed_forward(
            self.feed_forward_norm(x) if pre else x, training=training
        )
        x = x + self.feed_forward_dropout(y, training=training)
        return (x if pre else self.feed_forward_norm(x)), cache

    def _read_memory(
        self, x: Any, memory: Memory | None, penalty: Any, training: bool
    ) -> Any:
        """Returns x [B, T, D] after the cross-attention."""
        assert memory is not None, "cross-attention needs a memory"
        assert self.cross_attention is not None
        norm = self.cross_attention_norm
        assert norm is not None
        pre = self.config.norm_placement == "pre"
        y, _ = self.cross_attention(
            norm(x) if pre else x,
            mask_penalty=penalty,
            memory=memory,
            training=training,
        )
        x = x + self.cross_attention_dropout(y, training=training)
        return x if pre else norm(x)
