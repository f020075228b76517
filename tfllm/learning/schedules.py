"""Learning rate schedules: warm-up and decay."""

import dataclasses
import math
from typing import Any

import keras
from keras import ops

from tfllm.learning.schedule_config import POWER, STEP_FACTOR, ScheduleConfig


@keras.saving.register_keras_serializable("tfllm")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of a ScheduleConfig.

    Step 0 has learning rate 0 if there is a warm-up, as published for BERT.

    Args:
        config: ScheduleConfig.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config

    def __call__(self, step: Any) -> Any:
        """Returns the float32 learning rate of a step (from 0)."""
        config = self.config
        step = ops.cast(step, "float32")
        warmup = float(config.warmup_steps)
        rate = config.peak * self._decay(step)
        if not warmup:
            return rate
        return ops.where(step < warmup, config.peak * (step / warmup), rate)

    def _decay(self, step: Any) -> Any:
        """Returns the factor on the peak of a step after the warm-up."""
        config = self.config
        end = config.floor / config.peak
        warmup = config.warmup_steps
        if config.decay == "constant":
            return ops.ones_like(step)
        if config.decay == "inverse_sqrt":
            share = warmup / ops.maximum(step, float(warmup))
            return ops.maximum(ops.sqrt(share), end)
        if config.decay == "step":
            boundaries = ops.array(config.boundaries, "float32")
            stairs = ops.sum(ops.cast(step >= boundaries, "float32"))
            factor = config.step_factor
            if factor is None:
                factor = STEP_FACTOR
            return ops.maximum(factor**stairs, end)
        length = max(config.decay_end - warmup, 1)
        done = ops.clip((step - warmup) / length, 0.0, 1.0)
        return end + (1.0 - end) * self._remaining(done)

    def _remaining(self, done: Any) -> Any:
        """Returns the share of the decay that remains; `done` in [0, 1]."""
        config = self.config
        if config.decay == "cosine":
            return 0.5 * (1.0 + ops.cos(math.pi * done))
        if config.decay == "linear":
            return 1.0 - done
        power = config.schedule_power
        return (1.0 - done) ** (POWER if power is None else power)

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {"config": dataclasses.asdict(self.config)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Schedule":
        """Builds the schedule from what `get_config` returned."""
        return cls(ScheduleConfig(**config["config"]))
