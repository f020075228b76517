"""Types of the train step: the task as it sees it, batches, passes."""

from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

Tensors = dict[str, tf.Tensor]
# Objective -> sum of weighted losses, sum of a weighted measure.
Sums = dict[str, tuple[tf.Tensor, tf.Tensor]]


class Layered(Protocol):
    """A task as a stack of layers.

    Attributes:
        model: Keras model with the heads of the task.
    """

    model: keras.Model

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The variables that the optimizer updates."""


class Learner(Layered, Protocol):
    """A task as the train step sees it.

    Attributes:
        objectives: Names of the objectives.
        config: TransformerConfig of the model.
        optimizer: Keras optimizer.
        method_state: Name of a method -> what its `attach` returned.
    """

    objectives: tuple[str, ...]
    config: Any
    optimizer: keras.optimizers.Optimizer
    method_state: dict[str, Any]

    def __call__(self, x: Tensors, training: bool) -> Tensors:
        """Returns the outputs of a forward pass by objective."""

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy:
        """The strategy that the variables were created under."""

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables, random states included."""

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """Variables that the optimizer does not update."""

    def factor_of(self, objective: str) -> float:
        """Returns the factor of an objective's mean loss in the loss."""

    def measured_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of weighted losses and of a measure."""

    def divergence_sums(
        self, one: Tensors, other: Tensors, sample_weight: Tensors
    ) -> Tensors:
        """Returns the divergence between two outputs, weighted sums."""


class MicroBatch(NamedTuple):
    """Part of a batch that one forward pass computes.

    Attributes:
        x: Features by name, [b, ...] with b examples.
        y: Labels by objective.
        weights: float32 weights by objective.
        factors: Factor of each objective's sum of weighted losses in the loss
            of the global batch, float32 scalars.
        carried: Name of a method -> rows of what its `carry` returned.
        shift: Shift of the token embeddings, float32 [b, ..., T, D], or None.
            With a shift a pass returns its gradient.
    """

    x: Tensors
    y: Tensors
    weights: Tensors
    factors: Tensors
    carried: dict[str, Tensors]
    shift: tf.Tensor | None = None


class Pass(NamedTuple):
    """Result of a forward and a backward pass.

    Attributes:
        gradients: Gradients of the trainable variables, times the loss scale.
        sums: Sums to report, by objective.
        slope: Gradient of the shift of the micro-batch, or None.
    """

    gradients: list[tf.Tensor]
    sums: Sums
    slope: tf.Tensor | None = None
