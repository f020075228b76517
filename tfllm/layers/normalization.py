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
        self.scale = self.bias = None
        # autocast=False keeps the affine map in float32.
        if self.config.affine:
            self.scale = self.add_weight(
                name="scale", shape=shape, initializer="ones", autocast=False
            )
        if self.config.affine and self.config.kind == "layer_norm":
            self.bias = self.add_weight(
                name="bias", shape=shape, initializer="zeros", autocast=False
            )
        self.built = True

    def call(self, x: Any) -> Any:
        """Returns x normalized, float [..., D]."""
        dtype, size = x.dtype, self.config.hidden_size
        x = ops.cast(x, "float32")
        if self.config.kind == "rms_norm":
            y = _rms_norm(x, self.scale, self.config.epsilon)
        else:
            y = hand_gradients.layer_norm(
                x,
                _vector(self.scale, ops.ones, size),
                _vector(self.bias, ops.zeros, size),
                self.config.epsilon,
            )
        return ops.cast(y, dtype)


def _vector(variable: Any, default: Any, size: int) -> Any:
    """Returns a variable as a tensor, or `default(size)` without one."""
    # Reshaped, variables become tensors, which have gradients.
    return default(size) if variable is None else ops.reshape(variable, (-1,))


def _rms_norm(x: Any, scale: Any, epsilon: float) -> Any:
    """Returns the RMSNorm of float32 x [..., D]; no scale means 1."""
    variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
    x = x * ops.rsqrt(variance + epsilon)
    return x if scale is None else x * scale
