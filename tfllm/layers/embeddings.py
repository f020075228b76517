"""The input of a transformer: tokens, positions, segments."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from tfllm.layers.config import EmbeddingConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.normalization import Norm
from tfllm.layers.positions import LearnedPositions


class Embeddings(ConfiguredLayer):
    """Sum of token, position and segment embeddings, normalized.

    Args:
        config: EmbeddingConfig.

    Call args:
        token_ids: int32 [B, T], in [0, V).
        segment_ids: int32 [B, T] or None (all 0).
        position_ids: int32 [B, T] or None (0, 1, ... from `start`).
        start: Position of the first token when `position_ids` is None.
        training: Apply dropout.

    Returns:
        float [B, T, D].

    Reference: Devlin et al., 2019, figure 2.
    """

    config_class = EmbeddingConfig

    def __init__(self, config: EmbeddingConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        self.positions = (
            LearnedPositions(config, name="positions", dtype=self.dtype_policy)
            if config.max_position_embeddings
            else None
        )
        self.norm = (
            Norm(config.norm, name="norm", dtype=self.dtype_policy)
            if config.norm is not None
            else None
        )
        self.dropout = Dropout(
            config.dropout, name="dropout", dtype=self.dtype_policy
        )
        self._shift: Any = None

    @contextlib.contextmanager
    def shifted(self, shift: Any) -> Iterator[None]:
        """Adds to the token embeddings in the calls of the block.

        Args:
            shift: float [B, T, D], or of a shape that flattens to the same,
                or None for nothing.
        """
        self._shift = shift
        try:
            yield
        finally:
            self._shift = None

    def build(self, input_shape: Any = None) -> None:
        """Creates the tables."""
        config = self.config
        initializer = {
            "initializer": keras.initializers.TruncatedNormal(
                stddev=config.initializer_range
            )
        }
        self.token_table = self.add_weight(
            name="token_table",
            shape=(config.vocab_size, config.hidden_size),
            **initializer,
        )
        self.segment_table = (
            self.add_weight(
                name="segment_table",
                shape=(config.num_segments, config.hidden_size),
                initializer=keras.initializers.TruncatedNormal(
                    stddev=config.initializer_range
                ),
            )
            if config.num_segments
            else None
        )
        for part in (self.positions, self.norm):
            if part is not None:
                part.build()
        self.built = True

    def call(
        self,
        token_ids: Any,
        segment_ids: Any = None,
        position_ids: Any = None,
        start: Any = 0,
        training: bool = False,
    ) -> Any:
        """See the class."""
        x = ops.take(self.token_table, token_ids, axis=0)  # [B, T, D]
        if self._shift is not None:
            x = x + ops.reshape(ops.cast(self._shift, x.dtype), ops.shape(x))
        if self.segment_table is not None:
            x = x + (
                self.segment_table[0]
                if segment_ids is None
                else self._segments(segment_ids)
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
        return self.dropout(x, training=training)

    def _segments(self, segment_ids: Any) -> Any:
        """Returns [B, T, D] as a product with one-hot rows.

        The gradient of a product is a dense sum; that of a lookup scatters
        B * T rows into two.
        """
        one_hot = ops.one_hot(
            segment_ids, self.config.num_segments, dtype=self.compute_dtype
        )
        length = ops.shape(segment_ids)[1]
        flat = ops.reshape(one_hot, (-1, self.config.num_segments))
        return ops.reshape(
            ops.matmul(flat, self.segment_table),
            (-1, length, self.config.hidden_size),
        )
