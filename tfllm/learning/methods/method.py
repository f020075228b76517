"""The base class of training methods: options, and hooks of the train step.

A method is one file. It imports TensorFlow only inside its hooks: its options
are flags, and flags are read before TensorFlow is imported.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfllm.learning.learner import (
        Learner,
        MicroBatch,
        Pass,
        Sums,
        Tensors,
    )


@dataclasses.dataclass(frozen=True)
class Method:
    """Base of the training methods: a frozen dataclass of options, with hooks.

    The fields are the options; their entries under `Attributes:` in the
    docstring are the help of the flags. Every field has a default. A method is
    on if its first field differs from the default. A field of type Literal is
    a choice.

    A step calls the hooks in this order, each for all methods in the order of
    the list:

        carry                        once, for the batch of a replica
        backward (around), loss      for every micro-batch
        gradients                    once, with the sums over all replicas
        after_update                 once, when the optimizer is done

    Attributes:
        name: Name in METHODS: the flag of the first field, and the prefix of
            the flags of the other fields.
        one_pass: Whether a step computes each example once, as metrics of
            `compile` require.
    """

    name: ClassVar[str] = ""
    one_pass: ClassVar[bool] = True

    @classmethod
    def switch(cls) -> "dataclasses.Field[Any]":
        """Returns the field that turns the method on."""
        return dataclasses.fields(cls)[0]

    @property
    def is_on(self) -> bool:
        """Whether the method is on."""
        return bool(getattr(self, self.switch().name) != self.switch().default)

    def attach(self, task: "Learner") -> Any:
        """Adds to the model what the method needs, within `compile`.

        It is called before the optimizer is built, so it may add variables
        and freeze others. `compile` may be called several times.

        Args:
            task: The task.

        Returns:
            State for `method_state`, or None: a Keras layer, seed generator
            or variable, which checkpoints save; or a function that returns an
            object that Keras must not track, such as a teacher.

        Raises:
            ValueError: The method does not go with the task.
        """

    def carry(self, task: "Learner", x: "Tensors") -> "Tensors":
        """Returns tensors that are split into micro-batches with the batch.

        Args:
            task: The task.
            x: Features of this replica's part of the batch, [B, ...].

        Returns:
            Tensors [B, ...] by name; `carried[method.name]` of a micro-batch
            has its rows.
        """
        return {}

    def backward(
        self,
        task: "Learner",
        micro: "MicroBatch",
        backward: "Callable[[MicroBatch], Pass]",
    ) -> "Pass":
        """Returns gradients and sums of a micro-batch.

        Override it for several passes (adversarial training) or gradients per
        example (differential privacy).

        Args:
            task: The task.
            micro: The micro-batch.
            backward: Computes a micro-batch without this method; its rows and
                `shift` may differ from those of `micro`.
        """
        return backward(micro)

    def loss(
        self,
        task: "Learner",
        micro: "MicroBatch",
        outputs: "Tensors",
        sums: "Sums",
    ) -> "tuple[Sums, tf.Tensor | None]":
        """Returns the sums of a forward pass, and a term to add to the loss.

        Args:
            task: The task; call it with `micro.x` for another pass.
            micro: The micro-batch.
            outputs: Outputs of the task in training.
            sums: Sums by objective, `measured_sums` after earlier methods.

        Returns:
            Sums by objective; and a float32 scalar in units of the loss of
            the global batch, scaled by `micro.factors`, or None.
        """
        return sums, None

    def gradients(
        self,
        task: "Learner",
        gradients: "list[tf.Tensor]",
        totals: "Tensors",
    ) -> "list[tf.Tensor]":
        """Returns the gradients of the global batch to apply.

        Random numbers must be equal on all replicas.

        Args:
            task: The task.
            gradients: Gradients summed over all replicas and micro-batches,
                not yet clipped, times `task.optimizer.scale_loss(1.0)`.
            totals: Sums of the weights by objective, float32 scalars.
        """
        return gradients

    def after_update(self, task: "Learner") -> None:
        """Changes variables after the optimizer, as pruning does.

        It is called once for all replicas, so `variable.assign` is enough.

        Args:
            task: The task.
        """

    def covered(self, task: "Learner") -> "list[keras.Variable]":
        """Returns the variables of the model that `write` saves."""
        return []

    def write(self, task: "Learner", folder: str) -> None:
        """Writes what the method adds to a local model folder."""

    def read(self, task: "Learner", folder: str) -> None:
        """Reads what `write` wrote, after `attach`."""
