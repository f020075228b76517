"""What `compile` of a task takes besides an optimizer."""

import dataclasses
from typing import Any

from tfllm.tasks.adversarial import Adversarial


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How the train step finds gradients, and which weights follow them.

    Attributes:
        accumulation_steps: Micro-batches that each replica splits its part
            of a batch into.
        l1: Factor of the sum of absolute weights in the loss.
        l2: Factor of the sum of squared weights in the loss. Biases and
            normalizations are left out of both.
        r_drop: Factor of the divergence between two forward passes with
            different dropout; their losses are averaged (Liang et al., 2021).
        adversarial: How to shift the token embeddings, or None.
        layer_decay: Factor of the learning rate from one layer to the one
            below: see `tfllm.tasks.depth.rate_factors`.
        freeze: Parts that do not learn, such as `embeddings,0-5`: see
            `tfllm.tasks.depth.freeze`.
    """

    accumulation_steps: int = 1
    l1: float = 0.0
    l2: float = 0.0
    r_drop: float = 0.0
    adversarial: Adversarial | None = None
    layer_decay: float = 1.0
    freeze: str = ""

    def __post_init__(self) -> None:
        """Validates the fields."""
        if self.accumulation_steps < 1:
            raise ValueError(
                "`accumulation_steps` must be at least 1. "
                f"Received: {self.accumulation_steps}"
            )
        if not 0.0 < self.layer_decay <= 1.0:
            raise ValueError(
                "`layer_decay` must be above 0 and at most 1. "
                f"Received: {self.layer_decay}"
            )

    @classmethod
    def names(cls) -> set[str]:
        """Returns the names of the fields."""
        return {field.name for field in dataclasses.fields(cls)}

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainSettings":
        """Returns the settings whose JSON form is given."""
        adversarial = values["adversarial"]
        if adversarial is not None:
            adversarial = Adversarial(**adversarial)
        return cls(**{**values, "adversarial": adversarial})
