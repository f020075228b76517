"""Logits of the next token."""

import dataclasses
from typing import Any

from keras import ops

from tfllm.layers import initial_values
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.fields import (
    check_positive,
    check_positive_number,
    check_spread,
)
from tfllm.layers.hand_gradients import tied_logits


@dataclasses.dataclass(frozen=True)
class OutputHeadConfig:
    """How a decoder's hidden states become logits.

    Attributes:
        hidden_size: Width of the hidden states, D.
        vocab_size: Number of logits, V.
        tied: Use the table of the token embeddings as the output table.
        use_bias: A bias on each logit.
        trains_bias: The bias is trained; otherwise it stays as it was read.
        scale: Factor on the hidden states.
        initializer_range: Standard deviation of the truncated normal.
    """

    hidden_size: int
    vocab_size: int
    tied: bool = True
    use_bias: bool = False
    trains_bias: bool = True
    scale: float = 1.0
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "hidden_size", "vocab_size")
        check_positive_number(self, "scale")
        check_spread(self, "initializer_range")


class OutputHead(ConfiguredLayer):
    """Logits: the product of hidden states and the output table.

    Args:
        config: OutputHeadConfig.

    Call args:
        hidden_states: float [B, T, D], after the last normalization.
        token_table: float [V, D], the table of the embeddings; read if tied.
        few: Faster for few positions without a gradient, as in decoding. The
            table comes first in the product, so that its rows are read in
            order: up to twice as fast on CPU.

    Returns:
        float32 [B, T, V].

    Numerics: logits in float32 under any policy.

    Reference: Press and Wolf, 2017 (tied table).
    """

    config_class = OutputHeadConfig

    def __init__(self, config: OutputHeadConfig, **kwargs: Any) -> None:
        super().__init__(config, autocast=False, **kwargs)

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights, without a tied table."""
        config = self.config
        self.table = self.bias = None
        if not config.tied:
            self.table = initial_values.add_normal(
                self,
                "table",
                (config.vocab_size, config.hidden_size),
                config.initializer_range,
                autocast=False,
            )
        if config.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(config.vocab_size,),
                initializer="zeros",
                trainable=config.trains_bias,
                autocast=False,
            )
        self.built = True

    def call(
        self, hidden_states: Any, token_table: Any = None, few: bool = False
    ) -> Any:
        """Returns the logits, float32 [B, T, V]."""
        length = hidden_states.shape[1]
        if length is None:
            length = ops.shape(hidden_states)[1]
        x = ops.reshape(
            hidden_states, (-1, self.config.hidden_size)
        )  # [B * T, D]
        x = ops.cast(x, "float32")
        if self.config.scale != 1.0:
            x = x * self.config.scale
        table = token_table if self.config.tied else self.table
        # Reshaped, variables become tensors, which have gradients.
        table = ops.reshape(ops.cast(table, "float32"), ops.shape(table))
        if few:
            logits = ops.matmul(table, ops.transpose(x))  # [V, B * T]
            logits = ops.transpose(logits)  # [B * T, V]
        else:
            logits = tied_logits(x, table)  # [B * T, V]
        if self.bias is not None:
            logits = logits + self.bias
        return ops.reshape(logits, (-1, length, self.config.vocab_size))
