"""The step function that Keras calls in `fit` and `evaluate`."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfllm.tasks.batches import Tensors, count_tokens
from tfllm.tasks.contract import TaskContract


def step_function(
    task: TaskContract, step: Callable[[Any], Tensors]
) -> Callable[[Iterator[Any]], Tensors]:
    """Returns a function that runs step(next(iterator)) on all replicas.

    It runs `steps_per_execution` steps, fewer at the end of the data, and
    returns the logs of the last step.

    NOTE: Keras' own reduces the logs over the replicas, which fails for
    MultiWorkerMirroredStrategy; ours are equal on all replicas.

    Args:
        task: Compiled task.
        step: Batch -> logs.

    Raises:
        ValueError: `jit_compile` with more than one replica.
    """
    strategy = task.distribute_strategy
    if task.jit_compile and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "`jit_compile` does not go with more than one replica. "
            f"Received: {strategy.num_replicas_in_sync} replicas"
        )

    def run(data: Any) -> Tensors:
        return strategy.run(step, args=(data,))

    if not task.run_eagerly:
        run = tf.function(
            run,
            reduce_retracing=True,
            jit_compile=task.jit_compile,
            autograph=False,
        )

    def run_next(iterator: Iterator[Any]) -> Tensors:
        start = time.perf_counter()
        data = next(iterator)
        task.input_wait_seconds += time.perf_counter() - start
        task.tokens_seen += count_tokens(strategy, data)
        return keras.tree.map_structure(
            lambda log: strategy.experimental_local_results(log)[0], run(data)
        )

    def function(iterator: Iterator[Any]) -> Tensors:
        logs = run_next(iterator)
        for _ in range(1, task.steps_per_execution):
            try:
                logs = run_next(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                break
        return logs

    return function
