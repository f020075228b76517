"""Writes the functions of a task as a SavedModel.

NOTE: `keras.Model.export` would store each weight twice, and the C++ loader of
a server may refuse `tf.saved_model.save` of a Keras model. So the saved module
holds plain variables and the tokenizer; while a function is traced, each
weight of the Keras model reads its plain variable.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.serving.graph.checked_inputs import checked, checked_ids
from tfllm.serving.signatures.served_task import (
    ServedFunction,
    ServedTask,
    Tensors,
)
from tfllm.serving.storage import StoredWeight, Weights


class _Archive(tf.Module):
    """Saved module: tokenizer and weights."""

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
        served: Functions of the task.
        variables: Keras variables that the functions read.
        stored: Stored weight of each variable, in the same order.
        folder: Local folder, which is created.

    Raises:
        ValueError: An output is not dense or has no batch axis.
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

    def call(*tensors: tf.Tensor) -> Tensors:
        mapping = list(zip(variables, weights.read(), strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            inputs = checked(function.inputs, tensors)
            if function.limits is not None:
                inputs = checked_ids(inputs, function.limits)
            return function.call(**inputs)

    # Inputs get the names of their specs.
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
