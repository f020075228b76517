"""Position-wise feed-forward network."""

from typing import Any

from tfllm.layers.activations import ACTIVATIONS
from tfllm.layers.config import FeedForwardConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.linear import Linear


class FeedForward(ConfiguredLayer):
    """Position-wise feed-forward network, optionally gated.

    Args:
        config: FeedForwardConfig.

    Call args:
        x: float [B, T, D], compute dtype.
        training: A gradient will be computed; apply dropout.

    Returns:
        float [B, T, D].

    Reference: Vaswani et al., 2017, section 3.3; Shazeer, 2020 (gated).
    """

    config_class = FeedForwardConfig

    def __init__(self, config: FeedForwardConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        width, inner = config.hidden_size, config.intermediate_size
        options = {
            "use_bias": config.use_bias,
            "initializer_range": config.initializer_range,
            "dtype": self.dtype_policy,
        }
        self.up = Linear(width, inner, name="up", **options)
        self.gate = (
            Linear(width, inner, name="gate", **options)
            if config.gated
            else None
        )
        if config.output_initializer_range is not None:
            options["initializer_range"] = config.output_initializer_range
        self.down = Linear(inner, width, name="down", **options)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = Dropout(
            config.dropout, name="dropout", dtype=self.dtype_policy
        )

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns the output of the network, float [B, T, D]."""
        inner = self.up(x)  # [B, T, F]
        if self.gate is None:
            inner = self.activation(inner, training=training)
        else:
            gate = self.activation(self.gate(x), training=training)
            inner = gate * inner  # [B, T, F]
        return self.down(self.dropout(inner, training=training))
