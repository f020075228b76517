"""A generator without a model: it says the prompt again, byte by byte."""

import pathlib

import tensorflow as tf

# Cuts characters of three bytes.
BYTES_AT_A_TIME = 2


class Echo(tf.Module):
    """Streams one text at a time."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="text"),
            tf.TensorSpec([None, None], tf.int32, name="so_far"),
            tf.TensorSpec([None], tf.int32, name="lengths"),
        ]
    )
    def stream(
        self, text: tf.Tensor, so_far: tf.Tensor, lengths: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        tf.debugging.assert_equal(tf.shape(so_far)[1], lengths[0])
        place, size = lengths[0], tf.strings.length(text[0])
        count = tf.minimum(BYTES_AT_A_TIME, size - place)
        new = tf.strings.substr(text, place, count)
        ids = tf.cast(tf.io.decode_raw(new, tf.uint8), tf.int32)
        return {
            "token_ids": tf.pad(ids, [[0, 0], [0, 3]]),
            "lengths": count[None],
            "text_bytes": tf.strings.bytes_split(new).to_tensor(),
            "finished": (place + count >= size)[None],
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="text")]
    )
    def default(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"text": text, "size": tf.strings.length(text)}


def write(folder: pathlib.Path) -> None:
    """Writes it."""
    module = Echo()
    tf.saved_model.save(
        module,
        str(folder),
        signatures={"serving_default": module.default, "stream": module.stream},
    )
