"""Batches of a task: model inputs, split over replicas, count of tokens."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.learning.learner import Sums, Tensors

__all__ = ["Sums", "Tensors"]

# Features that every model takes.
MODEL_INPUTS = ("token_ids", "padding_mask", "segment_ids", "position_ids")


def model_inputs(inputs: Tensors) -> Tensors:
    """Returns the features that every model takes."""
    return {name: inputs[name] for name in MODEL_INPUTS if name in inputs}


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset
) -> Any:
    """Splits global batches over the replicas of a strategy.

    Args:
        strategy: Strategy of tf.distribute.
        batches: Global batches, the same on all workers. The number of
            replicas must divide their first axis.

    Returns:
        Distributed dataset for `fit` and `iter`. Replica r of R gets the rows
        from r / R to (r + 1) / R of each batch.
    """
    resolver = strategy.cluster_resolver
    if resolver is None:
        return strategy.experimental_distribute_dataset(batches)
    # NOTE: not `experimental_distribute_dataset`: without sharding it gives
    # every worker the first rows, with sharding other batches.
    replicas = strategy.num_replicas_in_sync

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local

        def split(*batch: Any) -> Any:
            def rows(x: tf.Tensor) -> tf.Tensor:
                size = tf.shape(x)[0] // replicas
                local_rows = x[first * size : (first + local) * size]
                # [local * size, ...] -> [local, size, ...]
                return tf.reshape(
                    local_rows, tf.concat([[local, size], tf.shape(x)[1:]], 0)
                )

            return tf.nest.map_structure(rows, batch)

        return batches.map(split).unbatch()

    return strategy.distribute_datasets_from_function(of_worker)


def count_tokens(strategy: tf.distribute.Strategy, data: Any) -> int:
    """Returns the number of real tokens in a global batch.

    Other workers are assumed to have as many as this one.

    Args:
        strategy: Strategy of tf.distribute.
        data: Batch: features, or a tuple that begins with them.
    """
    x = data[0] if isinstance(data, tuple) else data
    count = 0
    for mask, ids in (
        ("padding_mask", "token_ids"),
        ("source_mask", "source_ids"),
    ):
        if mask in x:
            parts = strategy.experimental_local_results(x[mask])
            local = sum(int(np.sum(part)) for part in parts)
        elif ids in x:
            parts = strategy.experimental_local_results(x[ids])
            local = sum(int(np.prod(part.shape)) for part in parts)
        else:
            continue
        count += strategy.num_replicas_in_sync // len(parts) * local
    return count
