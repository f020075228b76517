"""Multi-head attention with one fused query/key/value projection."""

from typing import Any

from keras import ops

from tfllm.layers.config import AttentionConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.hand_gradients import attend_with_dropout, softmax
from tfllm.layers.kv_cache import KVCache
from tfllm.layers.linear import Linear

# Taken off the score of a hidden key. Finite, so that a row without any
# visible key gives the uniform distribution and not NaN.
HIDDEN_PENALTY = 1e9


class Attention(ConfiguredLayer):
    """Scaled dot-product self-attention over several heads.

    The projections to queries, keys and values are one kernel
    [D, (N + 2K) * H], in this order.

    Args:
        config: AttentionConfig.

    Call args:
        x: float [B, S, D], compute dtype.
        queries_from: float [B, T, D], the rows that attend to x; None for x
            itself.
        mask_penalty: float32 [B, 1, 1 or T, S] taken off the scores (0
            keeps, `HIDDEN_PENALTY` hides), or None.
        cache: KVCache of the positions before x, or None.
        training: Apply dropout.

    Returns:
        float [B, T, D] and the cache with x appended (None without one).

    Numerics: softmax in float32 under any policy.

    Reference: Vaswani et al., 2017, section 3.2; Ainslie et al., 2023
    (grouped queries).
    """

    config_class = AttentionConfig

    def __init__(self, config: AttentionConfig, **kwargs: Any) -> None:
        """See the class."""
        # Keras' autocast would round the float32 mask, in float16 to -inf.
        super().__init__(config, autocast=False, **kwargs)
        options = {
            "use_bias": config.use_bias,
            "initializer_range": config.initializer_range,
            "dtype": self.dtype_policy,
        }
        heads = config.num_heads + 2 * config.kv_heads
        self.qkv = Linear(
            config.hidden_size, heads * config.head_size, name="qkv", **options
        )
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

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        self.qkv.build()
        self.output_projection.build()
        self.built = True

    def call(
        self,
        x: Any,
        queries_from: Any = None,
        mask_penalty: Any = None,
        cache: KVCache | None = None,
        training: bool = False,
    ) -> tuple[Any, KVCache | None]:
        """See the class."""
        if queries_from is None:
            queries, keys, values = self._project(x)
        else:
            queries, keys, values = self._project_apart(queries_from, x)
        if cache is not None:
            cache = cache.append(keys, values)
            keys, values = cache.keys, cache.values
        context = self._attend(queries, keys, values, mask_penalty, training)
        return self.output_projection(context), cache

    def _project(self, x: Any) -> tuple[Any, Any, Any]:
        """Returns queries [B, N, T, H], keys and values [B, K, T, H]."""
        n, k = self.config.num_heads, self.config.kv_heads
        qkv = self._split_heads(self.qkv(x))  # [B, N + 2K, T, H]
        queries, keys, values = ops.split(qkv, (n, n + k), axis=1)
        return queries * self.config.score_scale, keys, values

    def _project_apart(self, rows: Any, x: Any) -> tuple[Any, Any, Any]:
        """Returns the queries of `rows`, the keys and values of x."""
        n, k = self.config.num_heads, self.config.kv_heads
        middle = n * self.config.head_size
        queries = self._split_heads(self.qkv(rows, columns=(0, middle)))
        keys_values = self._split_heads(
            self.qkv(x, columns=(middle, self.qkv.output_size))
        )
        keys, values = ops.split(keys_values, (k,), axis=1)
        return queries * self.config.score_scale, keys, values

    def _split_heads(self, x: Any) -> Any:
        """Returns [B, heads, T, H] for [B, T, heads * H]."""
        length = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
        width = self.config.head_size
        x = ops.reshape(x, (-1, length, x.shape[-1] // width, width))
        return ops.transpose(x, (0, 2, 1, 3))

    def _attend(
        self,
        queries: Any,
        keys: Any,
        values: Any,
        mask_penalty: Any,
        training: bool,
    ) -> Any:
        """Returns the context [B, T, N * H]."""
        config = self.config
        n, k, h = config.num_heads, config.kv_heads, config.head_size
        length = (
            queries.shape[2]
            if queries.shape[2] is not None
            else ops.shape(queries)[2]
        )
        if n != k:
            # Queries of one group share a head: fold G into the length.
            queries = ops.reshape(queries, (-1, k, n // k * length, h))
        num_keys = ops.shape(keys)[2]
        keys = ops.transpose(keys, (0, 1, 3, 2))
        scores = ops.cast(ops.matmul(queries, keys), "float32")
        if mask_penalty is not None:
            if n != k:
                scores = ops.reshape(scores, (-1, n, length, num_keys))
            # NOTE: not a sum. TensorFlow would fuse it with the product on
            # CPU, for which oneDNN has only its slow reference kernel.
            scores = scores - mask_penalty  # [B, N, T, S]
            if n != k:
                scores = ops.reshape(scores, (-1, k, n // k * length, num_keys))
        context = self._weighted_sum(scores, values, training)
        context = ops.reshape(context, (-1, n, length, h))
        context = ops.transpose(context, (0, 2, 1, 3))
        return ops.reshape(context, (-1, length, n * h))

    def _weighted_sum(self, scores: Any, values: Any, training: bool) -> Any:
        """Returns softmax(scores) @ values, with dropout in training."""
        if training and self.dropout.rate > 0.0:
            return attend_with_dropout(
                scores, values, self.dropout.draw(scores)
            )
        return ops.matmul(ops.cast(softmax(scores), values.dtype), values)
