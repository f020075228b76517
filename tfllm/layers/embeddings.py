"""Embeddings of tokens, positions and segments."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from keras import ops

from tfllm.layers import initial_values
from tfllm.layers.config import EmbeddingConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.linear import Linear
from tfllm.layers.normalization import Norm
from tfllm.layers.position_config import LearnedPositionsConfig
from tfllm.layers.positions import LearnedPositions, SinusoidalPositions


class Embeddings(ConfiguredLayer):
    """Sum of token, position and segment embeddings, normalized.

    Rotary positions and relative biases act in the attention instead.

    Args:
        config: EmbeddingConfig.

    Call args:
        token_ids: int32 [B, T], in [0, V).
        segment_ids: int32 [B, T] or None (all 0).
        position_ids: int32 [B, T] or None (0, 1, ... from `start`).
        start: Position of the first token when `position_ids` is None.
        token_table: float [V, E] of another stack, if `has_token_table` of
            the config is false.
        training: Apply dropout.

    Returns:
        float [B, T, D].

    Reference: Devlin et al., 2019, figure 2; Lan et al., 2020, section 3.1
    (width E of the table).
    """

    config_class = EmbeddingConfig

    def __init__(self, config: EmbeddingConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        policy = self.dtype_policy
        self.positions: LearnedPositions | SinusoidalPositions | None = None
        if config.adds_positions:
            learned = isinstance(config.positions, LearnedPositionsConfig)
            layer = LearnedPositions if learned else SinusoidalPositions
            self.positions = layer(config, name="positions", dtype=policy)
        self.projection = (
            Linear(
                config.table_size,
                config.hidden_size,
                use_bias=config.projection_bias,
                initializer_range=config.initializer_range,
                name="projection",
                dtype=policy,
            )
            if config.projection is not None
            else None
        )
        self.norm = (
            Norm(config.norm, name="norm", dtype=policy)
            if config.norm is not None
            else None
        )
        self.dropout = Dropout(config.dropout, name="dropout", dtype=policy)
        self.token_table: Any = None
        self.segment_table: Any = None
        self._shift: Any = None
        self._has_tables = False

    def share_tables(self, other: "Embeddings") -> None:
        """Takes the tables and the norm of other embeddings, before `build`.

        The projection stays its own.

        Args:
            other: Embeddings that are built, with the same tables.

        Raises:
            ValueError: The tables are not the same.
        """
        config = self.config
        expected = dataclasses.replace(
            other.config,
            hidden_size=config.hidden_size,
            embedding_size=config.embedding_size,
            projection=config.projection,
            projection_bias=config.projection_bias,
        )
        if expected != config or config.table_size != other.config.table_size:
            raise ValueError(
                f"`other` must have the tables of {config}. "
                f"Received: {other.config}"
            )
        self.token_table = other.token_table
        self.segment_table = other.segment_table
        self.positions, self.norm = other.positions, other.norm
        self._has_tables = True

    @contextlib.contextmanager
    def shifted(self, shift: Any) -> Iterator[None]:
        """Adds a shift to the token embeddings inside the `with` block.

        Args:
            shift: float [B, T, E], or a shape that flattens to it, or None.
        """
        self._shift = shift
        try:
            yield
        finally:
            self._shift = None

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights, except for tables that are shared."""
        if not self._has_tables:
            self._create_tables()
        # Not the layers that `share_tables` replaced.
        for part in (self.positions, self.norm, self.projection):
            if part is not None and not part.built:
                part.build()
        self.built = True

    def _create_tables(self) -> None:
        """Creates the tables of tokens and segments."""
        config = self.config
        self.token_table = (
            initial_values.add_normal(
                self,
                "token_table",
                (config.vocab_size, config.table_size),
                config.initializer_range,
            )
            if config.has_token_table
            else None
        )
        self.segment_table = (
            initial_values.add_normal(
                self,
                "segment_table",
                (config.num_segments, config.sum_size),
                config.initializer_range,
            )
            if config.num_segments
            else None
        )

    def call(
        self,
        token_ids: Any,
        segment_ids: Any = None,
        position_ids: Any = None,
        start: Any = 0,
        token_table: Any = None,
        training: bool = False,
    ) -> Any:
        """Returns the embeddings, float [B, T, D]."""
        config = self.config
        if token_table is None:
            token_table = self.token_table
        x = ops.take(token_table, token_ids, axis=0)  # [B, T, E]
        x = ops.cast(x, self.compute_dtype)
        if config.scale != 1.0:
            x = x * config.scale
        if self._shift is not None:
            x = x + ops.reshape(ops.cast(self._shift, x.dtype), ops.shape(x))
        if self.projection is not None and config.projection == "tokens":
            x = self.projection(x)  # [B, T, D]
        if self.segment_table is not None:
            x = x + (
                self.segment_table[0]  # [D]
                if segment_ids is None or config.num_segments == 1
                else self._segments(segment_ids)  # [B, T, D]
            )
        if self.positions is not None:
            length = token_ids.shape[1]
            if length is None:
                length = ops.shape(token_ids)[1]
            x = x + self.positions(
                length=length, start=start, position_ids=position_ids
            )
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x, training=training)
        if self.projection is not None and config.projection == "sum":
            x = self.projection(x)  # [B, T, D]
        return x

    def _segments(self, segment_ids: Any) -> Any:
        """Returns the segment embeddings [B, T, D].

        A product with one-hot rows, whose gradient is a dense sum; that of a
        lookup would scatter B * T rows into a few.
        """
        one_hot = ops.one_hot(
            segment_ids, self.config.num_segments, dtype=self.compute_dtype
        )  # [B, T, segments]
        length = ops.shape(segment_ids)[1]
        flat = ops.reshape(one_hot, (-1, self.config.num_segments))
        return ops.reshape(
            ops.matmul(flat, self.segment_table),
            (-1, length, self.config.sum_size),
        )
