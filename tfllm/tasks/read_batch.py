"""Converts batches of `fit` to the form that a task computes with."""

from typing import Any

import keras
import tensorflow as tf

from tfllm.tasks.batches import Tensors
from tfllm.tasks.contract import TaskContract
from tfllm.tasks.targets import (
    check_features,
    read_labels,
    read_sample_weights,
    read_weights,
)


def read_batch(
    task: TaskContract, data: Any
) -> tuple[Tensors, Tensors, Tensors]:
    """Splits a batch into features, labels and weights.

    Args:
        task: The task.
        data: (x, y) or (x, y, sample_weight), as `fit` takes them.

    Returns:
        Features; labels by objective, int32 or float32; weights by objective,
        float32.

    Raises:
        ValueError: A feature, label or weight has a wrong form.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    check_features(x, task.feature_names)
    targets = task.targets()
    labels, counts = read_labels(y, targets, x)
    by_objective = read_sample_weights(sample_weight, tuple(targets))
    weights = {}
    for name, target in targets.items():
        weights[name] = task.default_weights(name, x, labels[name])
        if name in by_objective:
            weights[name] = read_weights(
                by_objective[name], weights[name], name
            )
        if not weights[name].shape.is_compatible_with(
            labels[name].shape[: len(weights[name].shape)]
        ):
            raise ValueError(
                f"labels of `{name}` must be one per position, shape "
                f"{tuple(weights[name].shape)}. "
                f"Received: shape {tuple(labels[name].shape)}"
            )
        if target.is_class:
            weights[name] *= tf.cast(counts[name], tf.float32)
    return x, labels, weights
