"""Checks the inputs of a signature in the graph.

A server does not compare the shape of a tensor with the signature. Kernels of
tensorflow_text misread tensors of another rank and end the process. So every
input passes through ops that fail the request first.
"""

import itertools
from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfllm.serving.signatures.served_task import IdLimits, Tensors


def checked(
    specs: Mapping[str, tf.TensorSpec], tensors: Sequence[tf.Tensor]
) -> Tensors:
    """Returns the inputs by name; requests with wrong shapes fail.

    Each input must have the rank and the known sizes of its spec. Inputs must
    agree in the sizes of the axes that they share: batch, choices, tokens.

    Args:
        specs: Input name -> dtype and shape.
        tensors: Inputs in the order of `specs`.
    """
    inputs = {
        name: tf.ensure_shape(tensor, spec.shape, name=f"shape_of_{name}")
        for (name, spec), tensor in zip(specs.items(), tensors, strict=True)
    }
    asserts = [
        tf.debugging.Assert(
            tf.equal(
                tf.shape(inputs[first])[axis], tf.shape(inputs[second])[axis]
            ),
            [
                f"`{first}` and `{second}` must have the same size on axis "
                f"{axis}. Received shapes:",
                tf.shape(inputs[first]),
                tf.shape(inputs[second]),
            ],
        )
        for first, second in itertools.pairwise(
            sorted(specs, key=lambda name: -specs[name].shape.rank)
        )
        for axis in range(specs[second].shape.rank)
    ]
    # Ops that read an input must wait for the comparison.
    with tf.control_dependencies(asserts):
        return {name: tf.identity(t) for name, t in inputs.items()}


def checked_ids(inputs: Tensors, limits: IdLimits) -> Tensors:
    """Returns the inputs; requests with ids that the model lacks fail.

    Ids after the length of a row are ignored: servers that merge requests pad
    rows with any values.

    Args:
        inputs: `token_ids` int32 [..., T], `lengths` int32 [...], and for
            some models `segment_ids` int32 [..., T].
        limits: Limits of the ids and lengths.
    """
    lengths = inputs["lengths"]
    width = tf.shape(inputs["token_ids"])[-1]
    asserts = _asserts_of_range("lengths", lengths, width)
    if limits.longest is not None:
        # A server may have padded the width, so it is not limited.
        asserts += _asserts_of_range("lengths", lengths, limits.longest)
    is_real = tf.sequence_mask(lengths, width)  # [...] -> [..., T]
    for name, size in (
        ("token_ids", limits.vocab_size),
        ("segment_ids", limits.num_segments),
    ):
        if name in inputs and size is not None:
            ids = tf.where(is_real, inputs[name], 0)
            asserts += _asserts_of_range(name, ids, size - 1)
    with tf.control_dependencies(asserts):
        return {name: tf.identity(t) for name, t in inputs.items()}


def _asserts_of_range(
    name: str, values: tf.Tensor, largest: tf.Tensor | int
) -> list[tf.Operation]:
    """Returns asserts that all values are from 0 to `largest`."""
    return [
        tf.debugging.Assert(
            tf.reduce_all((values >= 0) & (values <= largest)),
            [
                f"`{name}` must be from 0 to",
                largest,
                ". Received values from",
                tf.reduce_min(values),
                "to",
                tf.reduce_max(values),
            ],
        )
    ]
