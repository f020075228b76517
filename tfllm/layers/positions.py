"""Learned and sinusoidal positions, and the relative bias of attention."""

import math
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfllm.layers import initial_values
from tfllm.layers.config import EmbeddingConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.position_config import RelativeBiasConfig


class LearnedPositions(ConfiguredLayer):
    """A table of absolute positions, trained unless it is sinusoidal.

    Args:
        config: EmbeddingConfig whose `positions` are a LearnedPositionsConfig.

    Call args:
        length: T, the number of positions.
        start: First position: the number of tokens in the cache, or 0.
        position_ids: int32 [B, T] to look up instead, or None.

    Returns:
        float [T, E], or [B, T, E] for `position_ids`.

    Reference: Gehring et al., 2017; Devlin et al., 2019.
    """

    config_class = EmbeddingConfig

    def build(self, input_shape: Any = None) -> None:
        """Creates the table."""
        config = self.config
        shape = (config.positions.rows, config.sum_size)
        self.table = (
            self.add_weight(
                name="table",
                shape=shape,
                initializer=_sinusoids,
                trainable=False,
            )
            if config.positions.sinusoidal
            else initial_values.add_normal(
                self, "table", shape, config.initializer_range
            )
        )
        self.built = True

    def call(
        self, length: Any, start: Any = 0, position_ids: Any = None
    ) -> Any:
        """Returns the rows of the table, float [T, E] or [B, T, E]."""
        rows = self.config.positions.rows
        offset = self.config.positions.offset
        if position_ids is not None:
            if offset:
                position_ids = position_ids + offset
            return ops.take(self.table, position_ids, axis=0)
        if isinstance(length, int):
            if length + offset > rows:
                raise ValueError(
                    "the sequence is longer than the table of positions, "
                    f"`rows`={rows} and `offset`={offset}. Received: length "
                    f"{length}; shorten `seq_length` or use a model with "
                    "more positions"
                )
            if isinstance(start, int):
                first = start + offset
                return self.table[first : first + length]
        return ops.take(self.table, start + offset + ops.arange(length), axis=0)


class SinusoidalPositions(ConfiguredLayer):
    """Sines and cosines of absolute positions, without weights.

    Args:
        config: EmbeddingConfig whose `positions` are a
            SinusoidalPositionsConfig.

    Call args: Those of LearnedPositions.

    Returns:
        float [T, E], or [B, T, E] for `position_ids`.

    Numerics: angles in float32 under any policy.

    Reference: Vaswani et al., 2017, section 3.5.
    """

    config_class = EmbeddingConfig

    def call(
        self, length: Any, start: Any = 0, position_ids: Any = None
    ) -> Any:
        """Returns sines and cosines, float [T, E] or [B, T, E]."""
        config = self.config.positions
        size = self.config.sum_size
        if position_ids is None:
            position_ids = start + ops.arange(length, dtype="int32")
        x = ops.cast(position_ids + config.offset, "float32")
        # [T, E / 2], or [B, T, E / 2]; so below.
        waves = _wave_numbers(size, config.theta, config.reaches_theta)
        angles = ops.expand_dims(x, -1) * ops.convert_to_tensor(
            waves, "float32"
        )
        parts = [ops.sin(angles), ops.cos(angles)]
        if config.layout == "halves":
            y = ops.concatenate(parts, axis=-1)  # [T, E]
        else:
            y = ops.stack(parts, axis=-1)  # [T, E / 2, 2]
            y = ops.reshape(y, (*ops.shape(angles)[:-1], size))  # [T, E]
        return ops.cast(y, self.compute_dtype)


def _wave_numbers(
    size: int, theta: float, reaches_theta: bool = False
) -> list[float]:
    """Returns the angle of position 1 in each pair of `size` numbers."""
    half = size // 2
    steps = max(half - 1, 1) if reaches_theta else half
    return [theta ** (-i / steps) for i in range(half)]


def _sinusoids(shape: tuple[int, int], dtype: Any = None) -> Any:
    """Returns interleaved sines and cosines of positions, float [P, E]."""
    rows, size = shape
    angles = np.arange(rows)[:, None] * _wave_numbers(size, 10000.0)
    table = np.stack([np.sin(angles), np.cos(angles)], -1)  # [P, E / 2, 2]
    return ops.convert_to_tensor(table.reshape(shape), dtype)


class ScoreBias(NamedTuple):
    """A relative bias for the attention of every block.

    Attributes:
        bias: float32 [1 or B, N, T, S], added to the scores.
    """

    bias: Any

    def at(self, output_positions: Any) -> "ScoreBias":
        """Returns the bias [B, N, P, S] of the queries int32 [B, P]."""
        rows = ops.transpose(self.bias[0], (1, 0, 2))  # [T, N, S]
        rows = ops.take(rows, output_positions, axis=0)  # [B, P, N, S]
        return ScoreBias(ops.transpose(rows, (0, 2, 1, 3)))  # [B, N, P, S]


class RelativeBias(ConfiguredLayer):
    """A trained bias of each head by the distance from query to key.

    Args:
        config: RelativeBiasConfig.

    Call args:
        length: T, the number of queries.
        num_keys: S, the number of keys.
        start: Column of the first query.

    Returns:
        ScoreBias [1, N, T, S].

    Numerics: float32 under any policy.

    Reference: Raffel et al., 2020, section 2.1.
    """

    config_class = RelativeBiasConfig

    def build(self, input_shape: Any = None) -> None:
        """Creates the table."""
        self.table = initial_values.add_normal(
            self,
            "table",
            (self.config.num_buckets, self.config.num_heads),
            self.config.initializer_range,
            autocast=False,
        )
        self.built = True

    def call(self, length: Any, num_keys: Any, start: Any = 0) -> ScoreBias:
        """Returns the bias of every query and key, [1, N, T, S]."""
        queries = start + ops.arange(length, dtype="int32")
        keys = ops.arange(num_keys, dtype="int32")
        distance = keys[None, :] - queries[:, None]  # [T, S]
        buckets = self._buckets(distance)  # [T, S]
        bias = ops.take(self.table, buckets, axis=0)  # [T, S, N]
        return ScoreBias(ops.transpose(bias, (2, 0, 1))[None])  # [1, N, T, S]

    def _buckets(self, distance: Any) -> Any:
        """Returns the bucket of each distance key - query, int32 [T, S]."""
        config = self.config
        count = config.num_buckets
        first: Any = 0
        if config.bidirectional:
            count //= 2
            first = ops.cast(distance > 0, "int32") * count
            distance = ops.abs(distance)
        else:
            distance = ops.maximum(-distance, 0)
        exact = count // 2
        far = ops.cast(ops.maximum(distance, exact), "float32") / exact
        share = ops.log(far) / math.log(config.max_distance / exact)
        far = exact + ops.cast(share * (count - exact), "int32")
        far = ops.minimum(far, count - 1)
        return first + ops.where(distance < exact, distance, far)


def counted_positions(padding_mask: Any, start: Any, length: Any) -> Any:
    """Returns positions that count real tokens only.

    Args:
        padding_mask: int32 or bool [B, S], true for real tokens.
        start: Column of the first token.
        length: Number of tokens, T.

    Returns:
        int32 [B, T]; 0 for padding on the left.
    """
    real = ops.cast(padding_mask, "int32")
    if isinstance(start, int) and start == 0:
        counts = ops.cumsum(real[:, :length], axis=1)  # [B, T]
        return ops.maximum(counts - 1, 0)
    # Not a cumulative sum over all S columns: in decoding T is small.
    columns = ops.arange(ops.shape(real)[1], dtype="int32")
    before = ops.where(columns < start, real, 0)  # [B, S]
    before = ops.sum(before, axis=1, keepdims=True)  # [B, 1]
    here = start + ops.arange(length, dtype="int32")
    counts = before + ops.cumsum(ops.take(real, here, axis=1), axis=1)  # [B, T]
    return ops.maximum(counts - 1, 0)
