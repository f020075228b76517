"""Optimizers: AdamW, LAMB and SGD of tfllm, and Keras' Adafactor."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfllm.learning.optimizer_config import OptimizerConfig
from tfllm.learning.schedule_config import ScheduleConfig
from tfllm.learning.schedules import Schedule

# Arguments of Keras for steps that AdamW does itself.
_NOT_OF_ADAMW = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "gradient_accumulation_steps",
)


def create(
    config: OptimizerConfig, schedule: ScheduleConfig | float
) -> keras.optimizers.Optimizer:
    """Creates a Keras optimizer.

    Args:
        config: OptimizerConfig.
        schedule: Learning rate, or its schedule.
    """
    rate = (
        Schedule(schedule) if isinstance(schedule, ScheduleConfig) else schedule
    )
    shared = {
        "learning_rate": rate,
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm or None,
    }
    return _FACTORIES[config.name](config, shared)


@keras.saving.register_keras_serializable("tfllm")
class AdamW(keras.optimizers.Optimizer):
    """Adam with decoupled weight decay, in few passes over the weights.

    Args:
        learning_rate: float or schedule.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Number added to the root of the second moment.
        bias_correction: Divide the moments by 1 - beta ** step. BERT as
            published does not, which changes its first steps by up to 5x.
        decay: Weight decay. It is not called `weight_decay`: Keras would
            apply that separately, in twice the passes.
        clip_norm: Largest global norm of the gradient; 0 for no clipping.
        **kwargs: Other arguments of `keras.optimizers.Optimizer` that do not
            change the update.

    Attributes:
        rate_factors: Factors of learning rate and decay for each variable, in
            the order of `build`; empty for 1.

    Raises:
        ValueError: An argument of Keras would have no effect.

    Numerics: epsilon is added after the correction, as in the paper and in
    torch, not before as in Keras and TensorFlow.

    Reference: Loshchilov and Hutter, 2019, algorithm 2; Devlin et al.,
    2019, appendix A.2.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        bias_correction: bool = True,
        decay: float = 0.01,
        clip_norm: float = 0.0,
        **kwargs: Any,
    ) -> None:
        for name in _NOT_OF_ADAMW:
            if kwargs.get(name):
                raise ValueError(
                    f"`{name}` has no effect on this optimizer; it takes "
                    "`decay` and `clip_norm`. Received: "
                    f"{name}={kwargs[name]!r}"
                )
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.bias_correction = bias_correction
        self.decay = decay
        self.clip_norm = clip_norm
        self.rate_factors: tuple[float, ...] = ()

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the moments."""
        if not self.built:
            super().build(variables)
            self.first, self.second = self.add_optimizer_variables(
                variables, ["first_moment", "second_moment"]
            )

    def _backend_apply_gradients(
        self, grads: list[Any], trainable_variables: list[Any]
    ) -> None:
        """Updates the variables one after the other.

        NOTE: Keras' own writes the squares, and then all the clipped
        gradients, to memory at once.
        """
        factor = tf.ones((), tf.float32)
        if self.clip_norm:
            norm = tf.cast(tf.linalg.global_norm(grads), tf.float32)
            factor = self.clip_norm / tf.maximum(norm, self.clip_norm)
        power_1 = power_2 = tf.zeros((), tf.float32)
        if self.bias_correction:
            step = tf.cast(self.iterations + 1, tf.float32)
            power_1 = tf.pow(tf.constant(self.beta_1), step)
            power_2 = tf.pow(tf.constant(self.beta_2), step)
        self._settings: dict[str, Any] = {}
        self._last_update: dict[str, Any] = {}
        # In reverse order: the token table, the largest, comes last, when the
        # other gradients are freed.
        self._backend_update_step(
            grads[::-1],
            trainable_variables[::-1],
            tf.stack(
                [
                    tf.cast(self.learning_rate, tf.float32),
                    factor,
                    power_1,
                    power_2,
                    # The op adds epsilon before the correction.
                    self.epsilon * tf.sqrt(1.0 - power_2),
                ]
            ),
        )

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        """Updates one variable and its moments in place.

        Args:
            gradient: Gradient before clipping.
            variable: The variable.
            learning_rate: float32 [5]: learning rate, factor of clipping,
                both betas to the power of the step, epsilon of the op.
        """
        device = variable.device
        if device not in self._settings:
            self._settings[device] = tf.unstack(learning_rate)
        # One temporary tensor at a time, on each device.
        before = self._last_update.get(device, [])
        with tf.control_dependencies(before):
            done = self._update(gradient, variable, self._settings[device])
        # Eager execution returns no operation, and needs none.
        self._last_update[device] = [] if done is None else [done]

    def _update(self, gradient: Any, variable: Any, settings: list[Any]) -> Any:
        """Returns the operation that updates one variable."""
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        rate, factor, power_1, power_2, epsilon = [
            tf.cast(value, dtype) for value in settings
        ]
        rate = _scaled(rate, self.rate_factors, index)
        if self.decay and self._use_weight_decay(variable):
            # Not `assign`, though it saves a pass: the variable would take the
            # buffer of the product, and large buffers that move at each step
            # fragment the memory.
            variable.assign_sub(variable * (rate * self.decay))
        return tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self.first[index]),
            v=_handle(self.second[index]),
            beta1_power=power_1,
            beta2_power=power_2,
            lr=rate,
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=epsilon,
            grad=tf.cast(gradient, dtype) * factor,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "bias_correction": self.bias_correction,
            "decay": self.decay,
            "clip_norm": self.clip_norm,
        }


@keras.saving.register_keras_serializable("tfllm")
class Lamb(keras.optimizers.Optimizer):
    """LAMB: Adam's direction with one trust ratio per variable.

    NOTE: not Keras' Lamb, which leaves weight decay out of the ratio.

    Args:
        learning_rate: float or schedule.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Number added to the root of the second moment.
        decay: Weight decay, part of the direction. It is not called
            `weight_decay`, which Keras would apply separately.
        **kwargs: Other arguments of `keras.optimizers.Optimizer`.

    Attributes:
        rate_factors: As in AdamW.

    Reference: You et al., 2020, algorithm 2.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        decay: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.decay = decay
        self.rate_factors: tuple[float, ...] = ()

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the moments."""
        if not self.built:
            super().build(variables)
            self.first, self.second = self.add_optimizer_variables(
                variables, ["first_moment", "second_moment"]
            )

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        """Updates one variable and its moments."""
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        first, second = self.first[index], self.second[index]
        gradient = ops.cast(gradient, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        self.assign_add(first, (gradient - first) * (1.0 - self.beta_1))
        self.assign_add(
            second, (ops.square(gradient) - second) * (1.0 - self.beta_2)
        )
        direction = (first / (1.0 - self.beta_1**step)) / (
            ops.sqrt(second / (1.0 - self.beta_2**step)) + self.epsilon
        )
        if self._use_weight_decay(variable):
            direction = direction + self.decay * variable
        weight_norm = ops.sqrt(ops.sum(ops.square(variable)))
        norm = ops.sqrt(ops.sum(ops.square(direction)))
        ratio = ops.where(
            ops.logical_and(weight_norm > 0.0, norm > 0.0),
            weight_norm / ops.maximum(norm, 1e-30),
            1.0,
        )
        rate = ops.cast(learning_rate, dtype)
        rate = _scaled(rate, self.rate_factors, index)
        self.assign_sub(variable, rate * ratio * direction)

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "decay": self.decay,
        }


@keras.saving.register_keras_serializable("tfllm")
class SGD(keras.optimizers.SGD):
    """Keras' SGD with decoupled weight decay and one rate per variable.

    Args:
        learning_rate: float or schedule.
        momentum: Share of the velocity to keep.
        decay: Weight decay. It is not called `weight_decay`: Keras would
            apply that separately, at one rate for all variables.
        **kwargs: Other arguments of `keras.optimizers.SGD`.

    Attributes:
        rate_factors: As in AdamW.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, **kwargs)
        self.decay = decay
        self.rate_factors: tuple[float, ...] = ()

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        """Updates one variable and its velocity."""
        rate = ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        rate = _scaled(rate, self.rate_factors, index)
        if self.decay and self._use_weight_decay(variable):
            self.assign_sub(variable, variable * (rate * self.decay))
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "decay": self.decay}


def _scaled(rate: Any, factors: tuple[float, ...], index: int) -> Any:
    """Returns the learning rate of one variable."""
    return rate * factors[index] if factors else rate


def _handle(variable: Any) -> Any:
    """Returns the resource of a Keras or TensorFlow variable.

    Inside `tf.distribute.StrategyExtended.update` it is the part of a
    distributed variable on the device of the update.
    """
    if isinstance(variable, keras.Variable):
        variable = variable.value
    return variable.handle


def _adam(
    bias_correction: bool,
) -> Callable[[OptimizerConfig, dict[str, Any]], AdamW]:
    """Returns a factory of AdamW with or without bias correction."""
    return lambda config, shared: AdamW(
        **config.options,
        bias_correction=bias_correction,
        decay=config.weight_decay,
        clip_norm=config.clip_norm,
        learning_rate=shared["learning_rate"],
    )


def _lamb(config: OptimizerConfig, shared: dict[str, Any]) -> Lamb:
    """Returns LAMB, which applies the weight decay itself."""
    return Lamb(
        **config.options,
        decay=config.weight_decay,
        **{**shared, "weight_decay": None},
    )


def _sgd(config: OptimizerConfig, shared: dict[str, Any]) -> SGD:
    """Returns SGD, which applies the weight decay itself."""
    return SGD(
        **config.options,
        decay=config.weight_decay,
        **{**shared, "weight_decay": None},
    )


_FACTORIES: dict[
    str,
    Callable[[OptimizerConfig, dict[str, Any]], keras.optimizers.Optimizer],
] = {
    "adamw": _adam(bias_correction=True),
    "bert_adam": _adam(bias_correction=False),
    "lamb": _lamb,
    "adafactor": lambda _, shared: keras.optimizers.Adafactor(**shared),
    "sgd": _sgd,
}
