"""Position embeddings."""

from typing import Any

import keras
from keras import ops

from tfllm.layers.config import EmbeddingConfig
from tfllm.layers.configured import ConfiguredLayer


class LearnedPositions(ConfiguredLayer):
    """A trained table of absolute positions.

    Args:
        config: EmbeddingConfig; its `max_position_embeddings` rows.

    Call args:
        length: T, the number of positions, at most the rows of the table.
        start: First position, 0 unless tokens were seen before.
        position_ids: int32 [B, T] to look up instead, or None.

    Returns:
        float [T, D], or [B, T, D] for `position_ids`.

    Reference: Gehring et al., 2017; Devlin et al., 2019.
    """

    config_class = EmbeddingConfig

    def build(self, input_shape: Any = None) -> None:
        """Creates the table."""
        config = self.config
        self.table = self.add_weight(
            name="table",
            shape=(config.max_position_embeddings, config.hidden_size),
            initializer=keras.initializers.TruncatedNormal(
                stddev=config.initializer_range
            ),
        )
        self.built = True

    def call(
        self, length: Any, start: Any = 0, position_ids: Any = None
    ) -> Any:
        """See the class."""
        rows = self.config.max_position_embeddings
        if position_ids is not None:
            return ops.take(self.table, position_ids, axis=0)
        if isinstance(length, int):
            if length > rows:
                raise ValueError(
                    "the sequence is longer than `max_position_embeddings`="
                    f"{rows}. Received: length {length}; shorten "
                    "`seq_length` or use a model with more positions"
                )
            if isinstance(start, int):
                return self.table[start : start + length]
        return ops.take(self.table, start + ops.arange(length), axis=0)
