"""Settings of the train step, which `compile` of a task takes."""

import dataclasses
from collections.abc import MutableMapping
from typing import Any

from tfllm.learning import method_options
from tfllm.learning.methods import Method


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """Options of the train step: accumulation, penalties, freezing.

    Attributes:
        accumulation_steps: Number of micro-batches per batch and replica.
        l1: Factor of the sum of absolute weights in the loss, without biases
            and norms.
        l2: Factor of the sum of squared weights in the loss, without biases
            and norms.
        layer_decay: Factor of the learning rate from one layer to the one
            below, see `tfllm.learning.depth.rate_factors`.
        freeze: Parts that do not learn, such as `embeddings,0-5`, see
            `tfllm.learning.depth.freeze`.
    """

    accumulation_steps: int = 1
    l1: float = 0.0
    l2: float = 0.0
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


@dataclasses.dataclass(frozen=True)
class TrainSettings(StepOptions):
    """Settings of the train step, with its training methods.

    Attributes:
        methods: Training methods, in the order in which hooks are called.
    """

    methods: tuple[Method, ...] = ()

    @classmethod
    def taken_from(cls, arguments: MutableMapping[str, Any]) -> "TrainSettings":
        """Removes settings from the arguments of `compile`.

        Args:
            arguments: Arguments by name, with options of methods by their
                flags. Others are left in it.

        Raises:
            ValueError: A setting is not valid.
        """
        methods = method_options.taken_from(arguments)
        names = {field.name for field in dataclasses.fields(cls)}
        options = {
            name: arguments.pop(name) for name in names & arguments.keys()
        }
        return cls(**options, methods=methods)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; `taken_from` reads it."""
        return {**vars(self), "methods": method_options.to_record(self.methods)}
