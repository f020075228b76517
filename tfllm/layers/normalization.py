"""Layer normalization and RMSNorm."""

from typing import Any

from keras import ops

from tfllm.layers import hand_gradients
from tfllm.layers.config import NormConfig
from tfllm.layers.configured import ConfiguredLayer


class Norm(ConfiguredLayer):
    """Layer normalization or RMSNorm of the last axis, by `config.kind`.

    Args:
        config: NormConfig.

    Call args:
        x: float [..., D].

    Returns:
        float [..., D], compute dtype.

    Numerics: statistics and the affine map in float32 under any policy.

    Reference: Ba et al., 2016, section 3; Zhang and Sennrich, 2019.
    """

    config_class = NormConfig

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        shape = (self.config.hidden_size,)
        # autocast=False keeps the affine map in float32.
        self.scale = self.add_weight(
            name="scale", shape=shape, initializer="ones", autocast=False
        )
        self.bias = (
            self.add_weight(
                name="bias", shape=shape, initializer="zeros", autocast=False
            )
            if self.config.kind == "layer_norm"
            else None
        )
        self.built = True

    def call(self, x: Any) -> Any:
        """Returns x normalized, float [..., D]."""
        dtype = x.dtype
        x = ops.cast(x, "float32")
        if self.bias is None:
            y = _rms_norm(x, self.scale, self.config.epsilon)
        else:
            # Reshaped, variables become tensors, which have gradients.
            y = hand_gradients.layer_norm(
                x,
                ops.reshape(self.scale, (-1,)),
                ops.reshape(self.bias, (-1,)),
                self.config.epsilon,
            )
        return ops.cast(y, dtype)


def _rms_norm(x: Any, scale: Any, epsilon: float) -> Any:
    """Returns the RMSNorm of float32 x [..., D]."""
    variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(variance + epsilon) * scale
