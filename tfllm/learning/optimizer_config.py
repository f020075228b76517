"""Settings of an optimizer."""

import dataclasses

from tfllm.learning.options import check_options


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Options that some optimizers have; None for the default of `DEFAULTS`.

    Attributes:
        beta_1: Decay of the first moment, in [0, 1).
        beta_2: Decay of the second moment, in [0, 1).
        epsilon: Number added to the root of the second moment.
        momentum: Share of the velocity to keep, in [0, 1).
    """

    beta_1: float | None = None
    beta_2: float | None = None
    epsilon: float | None = None
    momentum: float | None = None


_MOMENTS = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-6}
# Optimizer -> its options and their defaults.
DEFAULTS: dict[str, dict[str, float]] = {
    "adamw": _MOMENTS,
    "bert_adam": _MOMENTS,
    "lamb": _MOMENTS,
    "adafactor": {},
    "sgd": {"momentum": 0.9},
}


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(OptimizerOptions):
    """An optimizer and its settings.

    Attributes:
        name: One of `DEFAULTS`.
        weight_decay: Decoupled weight decay, without biases and norms.
        clip_norm: Largest global gradient norm; 0 for no clipping.
    """

    name: str = "bert_adam"
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        """Validates the fields."""
        if self.name not in DEFAULTS:
            raise ValueError(
                f"`optimizer` must be one of {sorted(DEFAULTS)}. "
                f"Received: {self.name!r}"
            )
        for field in ("weight_decay", "clip_norm"):
            if getattr(self, field) < 0.0:
                raise ValueError(
                    f"`{field}` must not be negative. "
                    f"Received: {getattr(self, field)}"
                )
        check_options(self, OptimizerOptions, "optimizer", self.name, DEFAULTS)
        for field in ("beta_1", "beta_2", "momentum"):
            value = getattr(self, field)
            if value is not None and not 0.0 <= value < 1.0:
                raise ValueError(
                    f"`{field}` must be at least 0 and below 1. "
                    f"Received: {value}"
                )
        # Without it an unused row of a table gives 0 / 0.
        if self.epsilon is not None and not self.epsilon > 0.0:
            raise ValueError(
                f"`epsilon` must be positive. Received: {self.epsilon}"
            )

    @property
    def options(self) -> dict[str, float]:
        """Options of the optimizer, with defaults filled in."""
        filled = dict(DEFAULTS[self.name])
        for name in filled:
            if (value := getattr(self, name)) is not None:
                filled[name] = value
        return filled
