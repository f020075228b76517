"""Settings of the learning rate schedule."""

import dataclasses
import typing
from typing import Literal

from tfllm.learning.options import check_options

POWER = 2.0
STEP_FACTOR = 0.1

Decay = Literal[
    "linear", "cosine", "polynomial", "inverse_sqrt", "step", "constant"
]
DECAYS = typing.get_args(Decay)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """Options that some schedules have; None for their defaults.

    Attributes:
        final_learning_rate: Learning rate at the end of the decay and after
            it; for "step" and "inverse_sqrt" the lowest rate. None for 0.
        decay_steps: Step at which the decay ends, or below 1 the fraction of
            the steps of the run; None for the end of the run.
        schedule_power: Power of the polynomial; None for 2.
        step_boundaries: Steps at which "step" lowers the rate,
            comma-separated; numbers below 1 are fractions of the steps of the
            run. None for each quarter after the warm-up.
        step_factor: Factor of the rate at each boundary; None for 0.1.
    """

    final_learning_rate: float | None = None
    decay_steps: float | None = None
    schedule_power: float | None = None
    step_boundaries: str | None = None
    step_factor: float | None = None


_TO_AN_END = ("final_learning_rate", "decay_steps")
# Schedule -> its options.
OPTIONS: dict[str, tuple[str, ...]] = {
    "linear": _TO_AN_END,
    "cosine": _TO_AN_END,
    "polynomial": (*_TO_AN_END, "schedule_power"),
    "inverse_sqrt": ("final_learning_rate",),
    "step": ("final_learning_rate", "step_boundaries", "step_factor"),
    "constant": (),
}


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(ScheduleOptions):
    """Linear warm-up to a peak, then a decay.

    Attributes:
        peak: Learning rate at the end of the warm-up.
        total_steps: Steps of the run.
        decay: "linear"; "cosine" (Loshchilov and Hutter, 2017, without
            restarts; GPT-3 and LLaMA decay to a tenth of the peak);
            "polynomial"; "inverse_sqrt", the peak times
            sqrt(warm-up / step) (Vaswani et al., 2017, section 5.3);
            "step", stairs (DeepSeek-AI, 2024, section 2.3: 0.316 at 80 %
            and 90 % of the steps); "constant" stays at the peak.
        warmup: Steps, or below 1 the fraction of `total_steps`.
    """

    peak: float
    total_steps: int
    decay: Decay = "linear"
    warmup: float = 0.0

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
        check_options(self, ScheduleOptions, "schedule", self.decay, OPTIONS)
        self._check_options()

    def _check_options(self) -> None:
        """Raises ValueError for options out of their ranges."""
        if not 0.0 <= self.floor <= self.peak:
            raise ValueError(
                "`final_learning_rate` must be from 0 to `learning_rate`="
                f"{self.peak}. Received: {self.final_learning_rate}"
            )
        for name in ("schedule_power", "step_factor"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise ValueError(
                    f"`{name}` must be positive. Received: {value}"
                )
        if self.step_factor is not None and self.step_factor > 1.0:
            raise ValueError(
                f"`step_factor` must be at most 1. Received: {self.step_factor}"
            )
        if not self.warmup_steps <= self.decay_end <= self.total_steps:
            raise ValueError(
                "`decay_steps` must be from the end of the warm-up, "
                f"{self.warmup_steps}, to `train_steps`={self.total_steps}. "
                f"Received: {self.decay_steps}"
            )
        if self.decay == "inverse_sqrt" and not self.warmup_steps:
            raise ValueError(
                "`warmup` must be at least one step with "
                "--schedule=inverse_sqrt, which falls from the end of it on. "
                f"Received: {self.warmup}"
            )
        steps = self.boundaries
        if steps and not (
            sorted(set(steps)) == list(steps)
            and self.warmup_steps <= steps[0]
            and steps[-1] <= self.total_steps
        ):
            raise ValueError(
                "`step_boundaries` must rise from the end of the warm-up, "
                f"{self.warmup_steps}, to `train_steps`={self.total_steps}. "
                f"Received: {self.step_boundaries}"
            )

    @property
    def floor(self) -> float:
        """Lowest learning rate after the warm-up."""
        return self.final_learning_rate or 0.0

    @property
    def decay_end(self) -> int:
        """Step at which the decay ends."""
        if self.decay_steps is None:
            return self.total_steps
        return steps_of(self.decay_steps, self.total_steps)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Steps at which the schedule "step" lowers the rate.

        Raises:
            ValueError: `step_boundaries` are not numbers.
        """
        if self.step_boundaries is None:
            start, end = self.warmup_steps, self.total_steps
            stair = max(steps_of(0.25, max(end - start, 1)), 1)
            return tuple(range(start + stair, end + 1, stair))
        try:
            numbers = [float(part) for part in self.step_boundaries.split(",")]
            return tuple(steps_of(n, self.total_steps) for n in numbers)
        except (ValueError, OverflowError) as error:
            raise ValueError(
                "`step_boundaries` must be numbers of steps or fractions of "
                "them, such as 0.8,0.9. Received: "
                f"{self.step_boundaries!r}"
            ) from error

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up."""
        return steps_of(self.warmup, self.total_steps)


def steps_of(value: float, total: int) -> int:
    """Returns a number of steps.

    Args:
        value: Number of steps, or below 1 a fraction of `total`.
        total: Number of steps of the run.
    """
    return round(value * total) if value < 1 else int(value)
