"""Gradient accumulation: sums over the micro-batches of a batch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def accumulate(
    function: Callable[[Any], Any], batch: Any, num_micro_batches: int
) -> Any:
    """Returns the sum of function(micro-batch) over the parts of a batch.

    One loop in the graph: tracing time and peak memory of the activations
    do not grow with the number of parts.

    Args:
        function: Micro-batch -> nested float tensors to add up.
        batch: Nested tensors with the batch on the first axis.
        num_micro_batches: Number of parts. They are equal, or as equal as
            possible if the size of the batch is not static.

    Returns:
        Sums, in the structure of what `function` returns.

    Raises:
        ValueError: The batch does not divide into equal parts.
    """
    if num_micro_batches == 1:
        return function(batch)
    size = tf.nest.flatten(batch)[0].shape[0]
    if size is not None and size % num_micro_batches:
        raise ValueError(
            "`accumulation_steps` must divide the batch of each replica. "
            f"Received: accumulation_steps={num_micro_batches}, batch {size}"
        )
    if size is None:
        size = tf.shape(tf.nest.flatten(batch)[0])[0]

    def micro_batch(index: Any) -> Any:
        start = index * size // num_micro_batches
        end = (index + 1) * size // num_micro_batches
        # Static sizes stay static.
        part = None if tf.is_tensor(size) else size // num_micro_batches
        return tf.nest.map_structure(
            lambda x: tf.ensure_shape(x[start:end], [part, *x.shape[1:]]),
            batch,
        )

    first = function(micro_batch(tf.constant(0)))

    def body(index: Any, flat: list[Any]) -> Any:
        added = tf.nest.flatten(function(micro_batch(index)))
        return index + 1, [a + b for a, b in zip(flat, added, strict=True)]

    _, flat = tf.while_loop(
        lambda index, _: index < num_micro_batches,
        body,
        (tf.constant(1), tf.nest.flatten(first)),
        # One micro-batch in memory at a time.
        parallel_iterations=1,
    )
    return tf.nest.pack_sequence_as(first, flat)
