"""Multi-head attention with one fused query/key/value projection."""

from typing import Any

from keras import ops

from tfllm.layers.config import AttentionConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.hand_gradients import attend_with_dropout, softmax
from tfllm.layers.kv_cache import KVCache, Memory
from tfllm.layers.linear import Linear
from tfllm.layers.positions import ScoreBias
from tfllm.layers.rotary import Rotation, rotate

# What attention reads of the positions of its tokens.
AttentionPositions = Rotation | ScoreBias

# Subtracted from the score of a hidden key. Finite, so that a row without any
# visible key gives the uniform distribution and not NaN.
HIDDEN_PENALTY = 1e9


class Attention(ConfiguredLayer):
    """Scaled dot-product attention over several heads.

    The projections to queries, keys and values are one kernel
    [D, (N + 2K) * H], in this order.

    Args:
        config: AttentionConfig.

    Call args:
        x: float [B, S, D], compute dtype.
        queries_from: float [B, T, D], the rows that attend to x; None for x
            itself.
        mask_penalty: float32 [B, 1, 1 or T, S] subtracted from the scores (0
            keeps a key, `HIDDEN_PENALTY` hides it), or None.
        positions: Rotation for rotary positions, ScoreBias for a relative
            bias, or None.
        cache: KVCache of the positions before x, or None.
        memory: Keys and values of the encoder's output (cross-attention),
            from `read`; None for self-attention.
        training: Apply dropout.

    Returns:
        float [B, T, D] and the cache with x appended (None without one).

    Numerics: softmax in float32 under any policy.

    Reference: Vaswani et al., 2017, section 3.2; Ainslie et al., 2023
    (grouped queries).
    """

    config_class = AttentionConfig

    def __init__(self, config: AttentionConfig, **kwargs: Any) -> None:
        # Keras' autocast would round the float32 mask, in float16 to -inf.
        super().__init__(config, autocast=False, **kwargs)
        options = {
            "use_bias": config.use_bias,
            "initializer_range": config.initializer_range,
            "dtype": self.dtype_policy,
        }
        heads = config.num_heads + 2 * config.kv_heads
        query_range = config.query_initializer_range
        self.qkv = Linear(
            config.hidden_size,
            heads * config.head_size,
            name="qkv",
            first_columns=None
            if query_range is None
            else (config.num_heads * config.head_size, query_range),
            **options,
        )
        options["use_bias"] = config.has_output_bias
        if config.output_initializer_range is not None:
            options["initializer_range"] = config.output_initializer_range
        self.output_projection = Linear(
            config.num_heads * config.head_size,
            config.hidden_size,
            name="output_projection",
            **options,
        )
        self.dropout = Dropout(
            config.dropout, name="dropout", dtype=self.dtype_policy
        )

    def call(
        self,
        x: Any,
        queries_from: Any = None,
        mask_penalty: Any = None,
        positions: AttentionPositions | None = None,
        cache: KVCache | None = None,
        memory: Memory | None = None,
        training: bool = False,
    ) -> tuple[Any, KVCache | None]:
        """Returns the output [B, T, D], and the cache with x appended."""
        # queries [B, N, T, H], keys and values [B, K, S, H]
        if memory is not None:
            queries, (keys, values) = self._queries(x), memory
        elif queries_from is None:
            queries, keys, values = self._project(x)
        else:
            queries, (keys, values) = self._queries(queries_from), self.read(x)
        if isinstance(positions, Rotation):
            queries = rotate(queries, positions.query_cos, positions.query_sin)
            keys = rotate(keys, positions.cos, positions.sin)
        elif isinstance(positions, ScoreBias):
            # Equal in all blocks: a graph computes it once.
            mask_penalty = (
                -positions.bias
                if mask_penalty is None
                else mask_penalty - positions.bias
            )  # [B or 1, N, T, S]
        if cache is not None:
            cache = cache.append(keys, values)
            keys, values = cache.keys, cache.values  # [B, K, capacity, H]
        context = self._attend(queries, keys, values, mask_penalty, training)
        return self.output_projection(context), cache

    def _project(self, x: Any) -> tuple[Any, Any, Any]:
        """Projects x to queries [B, N, T, H] and keys, values [B, K, T, H]."""
        n, k = self.config.num_heads, self.config.kv_heads
        qkv = self._split_heads(self.qkv(x))  # [B, N + 2K, T, H]
        queries, keys, values = ops.split(qkv, (n, n + k), axis=1)
        return queries * self.config.score_scale, keys, values

    def _queries(self, x: Any) -> Any:
        """Projects x [B, T, D] to queries only, [B, N, T, H]."""
        stop = self.config.num_heads * self.config.head_size
        queries = self._split_heads(self.qkv(x, columns=(0, stop)))
        return queries * self.config.score_scale

    def read(self, x: Any) -> Memory:
        """Projects x [B, S, D] to keys and values only, [B, K, S, H] each."""
        start = self.config.num_heads * self.config.head_size
        columns = (start, self.qkv.output_size)
        keys_values = self._split_heads(self.qkv(x, columns=columns))
        return Memory(*ops.split(keys_values, (self.config.kv_heads,), axis=1))

    def _split_heads(self, x: Any) -> Any:
        """Returns [B, heads, T, H] for [B, T, heads * H]."""
        length = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
        width = self.config.head_size
        heads = x.shape[-1] // width
        x = ops.reshape(x, (-1, length, heads, width))  # [B, T, heads, H]
        return ops.transpose(x, (0, 2, 1, 3))  # [B, heads, T, H]

    def _attend(
        self,
        queries: Any,
        keys: Any,
        values: Any,
        mask_penalty: Any,
        training: bool,
    ) -> Any:
        """Returns the context [B, T, N * H].

        Args:
            queries: float [B, N, T, H], scaled.
            keys: float [B, K, S, H].
            values: float [B, K, S, H].
            mask_penalty: As in `call`.
            training: Apply dropout.
        """
        config = self.config
        n, k, h = config.num_heads, config.kv_heads, config.head_size
        length = (
            queries.shape[2]
            if queries.shape[2] is not None
            else ops.shape(queries)[2]
        )
        if n != k:
            # G queries share a key head: fold them into the length.
            queries = ops.reshape(
                queries, (-1, k, n // k * length, h)
            )  # [B, K, G * T, H]
        num_keys = ops.shape(keys)[2]
        keys = ops.transpose(keys, (0, 1, 3, 2))  # [B, K, H, S]
        scores = ops.matmul(queries, keys)  # [B, K, G * T, S]
        scores = ops.cast(scores, "float32")
        if mask_penalty is not None:
            if n != k:
                scores = ops.reshape(
                    scores, (-1, n, length, num_keys)
                )  # [B, N, T, S]
            # NOTE: not a sum. TensorFlow would fuse it with the product on
            # CPU, for which oneDNN has only its slow reference kernel.
            scores = scores - mask_penalty  # [B, N, T, S]
            if n != k:
                scores = ops.reshape(
                    scores, (-1, k, n // k * length, num_keys)
                )  # [B, K, G * T, S]
        context = self._weighted_sum(scores, values, training)
        context = ops.reshape(context, (-1, n, length, h))  # [B, N, T, H]
        context = ops.transpose(context, (0, 2, 1, 3))  # [B, T, N, H]
        return ops.reshape(context, (-1, length, n * h))  # [B, T, N * H]

    def _weighted_sum(self, scores: Any, values: Any, training: bool) -> Any:
        """Returns softmax(scores) @ values [B, K, G * T, H], with dropout."""
        if training and self.dropout.rate > 0.0:
            return attend_with_dropout(
                scores, values, self.dropout.draw(scores)
            )
        return ops.matmul(ops.cast(softmax(scores), values.dtype), values)
