"""The check of what every tokenizer is given."""

import tensorflow as tf


def as_vector(text: tf.Tensor) -> tf.Tensor:
    """Returns texts as a string [N]; ValueError for anything else."""
    text = tf.convert_to_tensor(text)
    if text.dtype != tf.string or text.shape.rank != 1:
        raise ValueError(
            "`text` must be a string tensor of rank 1. Received: "
            f"{text.dtype.name} of shape {text.shape}. Reshape or batch it."
        )
    return text
