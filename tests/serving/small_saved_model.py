"""A SavedModel of strings and numbers that takes no time to write."""

import pathlib

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.serving.graph.checked_inputs import checked

TEXT = {"text": tf.TensorSpec([None], tf.string, name="text")}
TOTAL = {
    "rows": tf.TensorSpec([None, None], tf.float32, name="rows"),
    "more": tf.TensorSpec([None], tf.int64, name="more"),
}


class Small(tf.Module):
    """Lower-cases texts, and sums rows of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(2.0)

    @tf.function(input_signature=list(TEXT.values()))
    def fold(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        text = checked(TEXT, [text])["text"]
        return {
            "folded": tf_text.case_fold_utf8(text),
            "bytes": tf.strings.length(text),
        }

    @tf.function(input_signature=list(TOTAL.values()))
    def total(self, rows: tf.Tensor, more: tf.Tensor) -> dict[str, tf.Tensor]:
        rows, more = checked(TOTAL, [rows, more]).values()
        sums = tf.reduce_sum(rows, axis=1) * self.factor
        return {"total": sums + tf.cast(more, tf.float32)}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int32, name="count")]
    )
    def spin(self, count: tf.Tensor) -> dict[str, tf.Tensor]:
        # Strings keep the optimizer from folding the loop.
        end = tf.while_loop(
            lambda i, text: i < count[0],
            lambda i, text: (
                i + 1,
                tf.strings.as_string(tf.strings.length(text) + i),
            ),
            (0, tf.constant("")),
        )
        return {"end": end[0][None]}


def write(folder: pathlib.Path) -> str:
    """Writes it; returns the folder."""
    module = Small()
    tf.saved_model.save(
        module,
        str(folder),
        signatures={
            "serving_default": module.fold,
            "total": module.total,
            "spin": module.spin,
        },
    )
    return str(folder)
