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


def count_tokens(strategy: tf.distribute.Strategy, data: Any) -> int:
    """Returns the number of real tokens in a global batch."""
    x = data[0] if isinstance(data, tuple) else data
    if "padding_mask" not in x:
        parts = strategy.experimental_local_results(x["token_ids"])
        return sum(int(np.prod(part.shape)) for part in parts)
    parts = strategy.experimental_local_results(x["padding_mask"])
    return sum(int(np.sum(part)) for part in parts)


def real_tokens(x: Tensors) -> tf.Tensor:
    """Returns float32 [B, ..., T], 1 for the tokens that are no padding."""
    if "padding_mask" in x:
        return tf.cast(x["padding_mask"], tf.float32)
    return tf.ones_like(x["token_ids"], tf.float32)
