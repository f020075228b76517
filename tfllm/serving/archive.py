"""Writes the functions of a task as a SavedModel.

NOTE: not `keras.Model.export`, which stores each weight twice, nor
`tf.saved_model.save` of a Keras model, which the C++ loader of a server may
refuse. The module that is saved holds plain variables and the tokenizer; while
a function is traced, each weight of the Keras model reads as one of them.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.serving.served_task import ServedFunction, ServedTask, Tensors
from tfllm.serving.storage import StoredWeight, Weights


class _Archive(tf.Module):
    """What is saved."""

    def __init__(self, served: ServedTask, weights: Weights) -> None:
        super().__init__(name="archive")
        self.tokenizer = served.tokenizer
        self.weights = weights


def write(
    served: ServedTask,
    variables: Sequence[Any],
    stored: Sequence[StoredWeight],
    folder: str,
) -> None:
    """Writes a SavedModel.

    Args:
        served: The functions.
        variables: The Keras variables that they read.
        stored: What is kept of each, in the same order.
        folder: Local; is created.

    Raises:
        ValueError: A function has an output that no request could merge.
    """
    weights = Weights(stored)
    archive = _Archive(served, weights)
    signatures = {
        name: _trace(name, function, variables, weights)
        for name, function in served.functions.items()
    }
    tf.saved_model.save(
        archive,
        folder,
        signatures=signatures,
        options=tf.saved_model.SaveOptions(
            save_debug_info=False, experimental_custom_gradients=False
        ),
    )


def _trace(
    name: str,
    function: ServedFunction,
    variables: Sequence[Any],
    weights: Weights,
) -> Any:
    """Returns a signature as a concrete function."""
    names = list(function.inputs)

    def call(*tensors: tf.Tensor) -> Tensors:
        values = weights.read()
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function.call(**dict(zip(names, tensors, strict=True)))

    # The names of the inputs are those of their specs.
    concrete = tf.function(
        call, input_signature=list(function.inputs.values()), autograph=False
    ).get_concrete_function()
    outputs = concrete.structured_outputs
    if set(outputs) != set(function.outputs):
        raise ValueError(
            f"signature {name!r} must return what it documents, "
            f"{sorted(function.outputs)}. Received: {sorted(outputs)}"
        )
    for key, tensor in outputs.items():
        if not isinstance(tensor, tf.Tensor) or not tensor.shape.rank:
            raise ValueError(
                "outputs must be dense, with the batch on the first axis. "
                f"Received: {key!r} of {name!r}, {tensor}"
            )
    return concrete
