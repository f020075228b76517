"""One transformer block."""

from typing import Any

from keras import ops

from tfllm.layers.attention import Attention
from tfllm.layers.config import BlockConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.feed_forward import FeedForward
from tfllm.layers.kv_cache import KVCache
from tfllm.layers.linear import take_positions
from tfllm.layers.normalization import Norm


class TransformerBlock(ConfiguredLayer):
    """Self-attention and a feed-forward network, each with a residual.

    Args:
        config: BlockConfig.

    Call args:
        x: float [B, T, D].
        positions: int32 [B, P], the positions whose output is wanted, or
            None for all. The others only serve as keys and values.
        mask_penalty: float32 [B, 1, 1 or T, S] or None; see Attention.
        cache: KVCache or None.
        training: Apply dropout.

    Returns:
        float [B, P or T, D] and the cache with x appended (None without
        one).

    Reference: Vaswani et al., 2017, section 3.1; Xiong et al., 2020.
    """

    config_class = BlockConfig

    def __init__(self, config: BlockConfig, **kwargs: Any) -> None:
        """See the class."""
        # See Attention: the mask stays in float32.
        super().__init__(config, autocast=False, **kwargs)
        policy = self.dtype_policy
        self.attention = Attention(
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
        self.attention_dropout = Dropout(
            config.dropout, name="attention_dropout", dtype=policy
        )
        self.feed_forward_dropout = Dropout(
            config.dropout, name="feed_forward_dropout", dtype=policy
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        self.attention.build()
        self.attention_norm.build()
        self.feed_forward.build()
        self.feed_forward_norm.build()
        self.built = True

    def call(
        self,
        x: Any,
        positions: Any = None,
        mask_penalty: Any = None,
        cache: KVCache | None = None,
        training: bool = False,
    ) -> tuple[Any, KVCache | None]:
        """See the class."""
        pre = self.config.norm_placement == "pre"
        x = ops.cast(x, self.compute_dtype)
        source = self.attention_norm(x) if pre else x
        rows = None
        if positions is not None:
            rows = take_positions(source, positions)
            x = take_positions(x, positions) if pre else rows
        y, cache = self.attention(
            source,
            queries_from=rows,
            mask_penalty=mask_penalty,
            cache=cache,
            training=training,
        )
        x = x + self.attention_dropout(y, training=training)
        if not pre:
            x = self.attention_norm(x)
        y = self.feed_forward(
            self.feed_forward_norm(x) if pre else x, training=training
        )
        x = x + self.feed_forward_dropout(y, training=training)
        return (x if pre else self.feed_forward_norm(x)), cache
