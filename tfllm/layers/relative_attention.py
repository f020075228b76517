"""Attention by content, by distance, and by whether texts are the same."""

from typing import Any, NamedTuple

from keras import ops

from tfllm.layers import initial_values
from tfllm.layers.config import AttentionConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.hand_gradients import attend_with_dropout, softmax
from tfllm.layers.kv_cache import KVCache
from tfllm.layers.linear import take_positions

THETA = 10000.0


class Distances(NamedTuple):
    """How far queries are from keys, and whether their texts differ.

    Attributes:
        sinusoids: float [T + S, D], of all distances from the farthest key
            before the last query to the farthest key after the first one.
        differ: float [B, T, S], 1 where query and key are of different texts,
            or None if all tokens are of one text.
        queries: int32 [B, P], the queries that attend; None for all.
    """

    sinusoids: Any
    differ: Any = None
    queries: Any = None

    def at(self, output_positions: Any) -> "Distances":
        """Returns the distances of the queries int32 [B, P]."""
        differ = self.differ
        if differ is not None:
            differ = take_positions(differ, output_positions)  # [B, P, S]
        return self._replace(differ=differ, queries=output_positions)


class Source(NamedTuple):
    """What all queries of a layer attend to.

    Attributes:
        keys: float [B, N, S, H].
        values: float [B, N, S, H].
        distance_keys: float [1, N, T + S, H].
    """

    keys: Any
    values: Any
    distance_keys: Any


def distance_sinusoids(
    size: int,
    length: Any,
    num_keys: Any,
    start: Any = 0,
    clamp_distance: int | None = None,
) -> Any:
    """Returns sines, then cosines, of the distances from queries to keys.

    Row r is for the distance `start` + T - r, so that query i and key j, in
    columns `start` + i and j, have row T - i + j.

    Args:
        size: D.
        length: T, the number of queries.
        num_keys: S, the number of keys.
        start: Column of the first query.
        clamp_distance: All distances from here on count as this one.

    Returns:
        float32 [T + S, D].

    Reference: Dai et al., 2019, section 3.3.
    """
    rows = ops.arange(length + num_keys, dtype="int32")
    distances = ops.cast(start + length - rows, "float32")  # [T + S]
    if clamp_distance is not None:
        distances = ops.clip(distances, -clamp_distance, clamp_distance)
    waves = [THETA ** (-2.0 * i / size) for i in range(size // 2)]
    angles = ops.expand_dims(distances, 1) * ops.convert_to_tensor(
        waves, "float32"
    )  # [T + S, D / 2]
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=1)


def by_key(scores: Any, num_keys: Any, queries: Any = None) -> Any:
    """Turns scores by distance into scores by key.

    Args:
        scores: float [B, N, T, T + S]: row r of `distance_sinusoids` for each
            query; or [B, N, P, T + S] for the queries of `queries`.
        num_keys: S.
        queries: int32 [B, P], or None for all.

    Returns:
        float [B, N, T or P, S].

    Reference: Dai et al., 2019, appendix B (the shift).
    """
    heads = scores.shape[1]
    _, _, length, width = ops.shape(scores)
    if queries is None:
        # Row i begins T - i entries further right. Without the first T
        # entries of all, cut into rows that are shorter by one, it begins at
        # its key 0.
        scores = ops.reshape(scores, (-1, heads, width, length))[:, :, 1:]
        scores = ops.reshape(scores, (-1, heads, length, width - 1))
        return scores[..., :num_keys]
    queries = ops.expand_dims(ops.cast(queries, "int32"), 2)
    first = width - num_keys - queries  # [B, P, 1]
    rows = ops.arange(ops.size(queries), dtype="int32") * width
    rows = ops.reshape(rows, ops.shape(first))  # [B, P, 1]
    places = rows + first + ops.arange(num_keys, dtype="int32")  # [B, P, S]
    scores = ops.transpose(scores, (0, 2, 3, 1))  # [B, P, T + S, N]
    scores = ops.take(ops.reshape(scores, (-1, heads)), places, axis=0)
    return ops.transpose(scores, (0, 3, 1, 2))  # [B, N, P, S]


class RelativeAttention(ConfiguredLayer):
    """Multi-head attention with terms for distances and for texts.

    The score of a query q and a key k at distance d is the sum of
    (q + content_bias) k, (q + distance_bias) W_distance sinusoid(d), and
    (q + segment_bias) s, where s depends on whether their texts are the same.

    Projections are raw kernels [D, N, H], without biases.

    Args:
        config: AttentionConfig without grouped heads and biases.

    Numerics: softmax in float32 under any policy.

    Reference: Dai et al., 2019, section 3.3; Yang et al., 2019, section 2.5
    (segments).
    """

    config_class = AttentionConfig

    def __init__(self, config: AttentionConfig, **kwargs: Any) -> None:
        # As in Attention, the mask stays in float32.
        super().__init__(config, autocast=False, **kwargs)
        if config.kv_heads != config.num_heads or config.use_bias:
            raise ValueError(
                "relative attention must have as many key heads as query "
                "heads, and no biases. Received: num_kv_heads="
                f"{config.num_kv_heads}, use_bias={config.use_bias}"
            )
        self.dropout = Dropout(
            config.dropout, name="dropout", dtype=self.dtype_policy
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        config = self.config
        heads = (config.num_heads, config.head_size)
        spread = config.initializer_range

        def weight(name: str, *shape: int) -> Any:
            return initial_values.add_normal(
                self, name, (*shape, *heads), spread
            )

        size = config.hidden_size
        self.query_kernel = weight("query_kernel", size)
        self.key_kernel = weight("key_kernel", size)
        self.value_kernel = weight("value_kernel", size)
        self.output_kernel = weight("output_kernel", size)
        self.distance_kernel = weight("distance_kernel", size)
        self.content_bias = weight("content_bias")
        self.distance_bias = weight("distance_bias")
        self.segment_bias = weight("segment_bias")
        # Of keys of the same text, and of another.
        self.segment_keys = weight("segment_keys", 2)
        self.built = True

    def read(
        self, x: Any, sinusoids: Any, cache: KVCache | None = None
    ) -> tuple[Source, KVCache | None]:
        """Returns what queries attend to, and the cache with x appended.

        Args:
            x: float [B, S, D], compute dtype.
            sinusoids: float [T + S, D], compute dtype; see `Distances`.
            cache: KVCache of the positions before x, or None.
        """
        keys, values = (
            self._heads(x, self.key_kernel),
            self._heads(x, self.value_kernel),
        )
        if cache is not None:
            cache = cache.append(keys, values)
            keys, values = cache.keys, cache.values
        distance_keys = self._heads(sinusoids[None], self.distance_kernel)
        return Source(keys, values, distance_keys), cache

    def call(
        self,
        x: Any,
        source: Source,
        distances: Distances,
        mask_penalty: Any = None,
        training: bool = False,
    ) -> Any:
        """Returns the output of queries, float [B, T, D].

        Args:
            x: float [B, T, D] or [B, P, D], compute dtype.
            source: What they attend to, from `read`.
            distances: Distances of these queries.
            mask_penalty: As in Attention.
            training: Apply dropout.
        """
        config = self.config
        queries = self._heads(x, self.query_kernel)  # [B, N, T, H]

        def dot(bias: Any, keys: Any) -> Any:
            # [1, N, 1, H]
            bias = ops.expand_dims(ops.cast(bias, queries.dtype), 1)[None]
            left = (queries + bias) * config.score_scale
            return ops.matmul(left, ops.swapaxes(keys, 2, 3))

        scores = dot(self.content_bias, source.keys)  # [B, N, T, S]
        by_distance = dot(self.distance_bias, source.distance_keys)
        scores = scores + by_key(
            by_distance, ops.shape(source.keys)[2], distances.queries
        )
        if distances.differ is not None:
            segments = ops.cast(self.segment_keys, queries.dtype)
            segments = ops.transpose(segments, (1, 0, 2))[None]  # [1, N, 2, H]
            both = dot(self.segment_bias, segments)  # [B, N, T, 2]
            # What all keys of a query share changes no softmax.
            step = both[..., 1:] - both[..., :1]  # [B, N, T, 1]
            differ = ops.cast(distances.differ, queries.dtype)
            scores = scores + step * differ[:, None]
        scores = ops.cast(scores, "float32")
        if mask_penalty is not None:
            scores = scores - mask_penalty
        context = self._weighted_sum(scores, source.values, training)
        context = ops.transpose(context, (0, 2, 1, 3))  # [B, T, N, H]
        width = config.num_heads * config.head_size
        length = ops.shape(context)[1]
        context = ops.reshape(context, (-1, width))  # [B * T, N * H]
        kernel = ops.cast(self.output_kernel, context.dtype)
        kernel = ops.reshape(kernel, (config.hidden_size, width))
        y = ops.matmul(context, ops.transpose(kernel))
        return ops.reshape(y, (-1, length, config.hidden_size))

    def _heads(self, x: Any, kernel: Any) -> Any:
        """Projects x [B, T, D] to heads [B, N, T, H]."""
        config = self.config
        heads = (config.num_heads, config.head_size)
        length = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
        kernel = ops.reshape(
            ops.cast(kernel, x.dtype), (config.hidden_size, -1)
        )
        y = ops.matmul(ops.reshape(x, (-1, config.hidden_size)), kernel)
        y = ops.reshape(y, (-1, length, *heads))  # [B, T, N, H]
        return ops.transpose(y, (0, 2, 1, 3))

    def _weighted_sum(self, scores: Any, values: Any, training: bool) -> Any:
        """Returns softmax(scores) @ values [B, N, T, H], with dropout."""
        if training and self.dropout.rate > 0.0:
            return attend_with_dropout(
                scores, values, self.dropout.draw(scores)
            )
        return ops.matmul(ops.cast(softmax(scores), values.dtype), values)
