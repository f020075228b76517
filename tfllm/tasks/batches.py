"""What a task asks of a batch: which of its tokens are real."""

from typing import Any

import numpy as np
import tensorflow as tf

Tensors = dict[str, tf.Tensor]
# By objective: sum of weighted losses, sum of a second measure.
Sums = dict[str, tuple[tf.Tensor, tf.Tensor]]

# Features that every model takes.
MODEL_INPUTS = ("token_ids", "padding_mask", "segment_ids", "position_ids")


def model_inputs(inputs: Tensors) -> Tensors:
    """Returns the features that a model takes, of those that there are."""
    return {name: inputs[name] for name in MODEL_INPUTS if name in inputs}


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset
) -> Any:
    """Returns the batches, split over the replicas of a strategy.

    Args:
        strategy: Any.
        batches: Global ones, the same on all workers; nested tensors whose
            first axis the number of replicas divides.

    Returns:
        What `fit` and `iter` take. Replica r of R gets the rows from
        r / R to (r + 1) / R of each batch.
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
                mine = x[first * size : (first + local) * size]
                return tf.reshape(
                    mine, tf.concat([[local, size], tf.shape(x)[1:]], 0)
                )

            return tf.nest.map_structure(rows, batch)

        return batches.map(split).unbatch()

    return strategy.distribute_datasets_from_function(of_worker)


def count_tokens(strategy: tf.distribute.Strategy, data: Any) -> int:
    """Returns the number of real tokens in a global batch.

    With several workers it is as if all had as many as this one.
    """
    x = data[0] if isinstance(data, tuple) else data
    name = "padding_mask" if "padding_mask" in x else "token_ids"
    parts = strategy.experimental_local_results(x[name])
    workers = strategy.num_replicas_in_sync // len(parts)
    if name == "token_ids":
        return workers * sum(int(np.prod(part.shape)) for part in parts)
    return workers * sum(int(np.sum(part)) for part in parts)


def real_tokens(x: Tensors) -> tf.Tensor:
    """Returns float32 [B, ..., T], 1 for the tokens that are no padding.

    Nor are those of rows that stand for a choice that there is not.
    """
    real = x.get("padding_mask", tf.ones_like(x["token_ids"]))
    if "choice_mask" in x:
        real *= tf.cast(x["choice_mask"], real.dtype)[..., tf.newaxis]
    return tf.cast(real, tf.float32)
