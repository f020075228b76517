"""Learning rate over the steps of a run."""

import dataclasses
import math
from typing import Any, Literal

import keras
from keras import ops

Decay = Literal["linear", "cosine", "polynomial", "step", "constant"]
DECAYS = ("linear", "cosine", "polynomial", "step", "constant")


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Linear warm-up to a peak, then a decay until the last step.

    Attributes:
        peak: Learning rate at the end of the warm-up.
        total_steps: Steps of the run.
        decay: "linear" to `end`; "cosine" to `end` (Loshchilov and Hutter,
            2017, without restarts); "polynomial" with `power`; "step"
            multiplies by `step_factor` after every `step_every` of the
            steps after the warm-up; "constant" stays at the peak.
        warmup: Steps, or below 1 the fraction of `total_steps`.
        end: Last learning rate of linear, cosine and polynomial.
        power: Of the polynomial.
        step_every: Length of one stair, as `warmup`.
        step_factor: Factor from one stair to the next.
    """

    peak: float
    total_steps: int
    decay: Decay = "linear"
    warmup: float = 0.0
    end: float = 0.0
    power: float = 2.0
    step_every: float = 0.25
    step_factor: float = 0.1

    def __post_init__(self) -> None:
        """Validates the fields."""
        if self.decay not in DECAYS:
            raise ValueError(
                f"`schedule` must be one of {list(DECAYS)}. "
                f"Received: {self.decay!r}"
            )
        if not self.peak > 0.0:
            raise ValueError(
                f"`learning_rate` must be positive. Received: {self.peak}"
            )
        if self.total_steps < 1:
            raise ValueError(
                f"`train_steps` must be at least 1. Received: "
                f"{self.total_steps}"
            )
        if self.warmup < 0 or self.warmup_steps > self.total_steps:
            raise ValueError(
                "`warmup` must be from 0 to `train_steps`="
                f"{self.total_steps}. Received: {self.warmup}"
            )

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up."""
        return steps_of(self.warmup, self.total_steps)


def steps_of(value: float, total: int) -> int:
    """Returns a number of steps given as such or as a fraction below 1."""
    return round(value * total) if value < 1 else int(value)


@keras.saving.register_keras_serializable("tfllm")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of a ScheduleConfig.

    Step 0 has learning rate 0 if there is a warm-up, as published for BERT.

    Args:
        config: ScheduleConfig.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        """See the class."""
        self.config = config

    def __call__(self, step: Any) -> Any:
        """Returns the float32 learning rate of a step (from 0)."""
        config = self.config
        step = ops.cast(step, "float32")
        warmup = float(config.warmup_steps)
        left = max(config.total_steps - warmup, 1.0)
        done = ops.clip((step - warmup) / left, 0.0, 1.0)
        rate = config.peak * self._decay(done)
        if not warmup:
            return rate
        return ops.where(step < warmup, config.peak * (step / warmup), rate)

    def _decay(self, done: Any) -> Any:
        """Returns the factor on the peak; `done` in [0, 1]."""
        config = self.config
        end = config.end / config.peak
        if config.decay == "linear":
            return end + (1.0 - end) * (1.0 - done)
        if config.decay == "cosine":
            wave = 0.5 * (1.0 + ops.cos(math.pi * done))
            return end + (1.0 - end) * wave
        if config.decay == "polynomial":
            return end + (1.0 - end) * (1.0 - done) ** config.power
        if config.decay == "step":
            left = max(config.total_steps - config.warmup_steps, 1)
            stair = max(steps_of(config.step_every, left), 1) / left
            # The small addend keeps step / stair == n from rounding down.
            return config.step_factor ** ops.floor(done / stair + 1e-6)
        return ops.ones_like(done)

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {"config": dataclasses.asdict(self.config)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Schedule":
        """Builds the schedule from what `get_config` returned."""
        return cls(ScheduleConfig(**config["config"]))
