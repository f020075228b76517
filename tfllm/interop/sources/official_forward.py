"""Runs a tf-models-official encoder in a separate process.

    python official_forward.py PREFIX INPUTS.npz OUTPUTS.npz

official needs Keras 2, so no other module imports it, and this one imports
nothing of tfllm. The inputs have the sizes of the encoder beside the rows.
"""

import os
import sys
from typing import Any

import numpy as np


def main(prefix: str, inputs_file: str, outputs_file: str) -> None:
    """Writes the hidden states of an encoder.

    Args:
        prefix: Prefix of the checkpoint.
        inputs_file: `token_ids` and `padding_mask`, int32 [B, T], and the keys
            of config.json that are sizes.
        outputs_file: Gets `hidden_states`, float32 [B, T, D].

    Raises:
        ValueError: No class of official has the objects of the checkpoint.
    """
    # Before TensorFlow is imported.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    values = dict(np.load(inputs_file))
    token_ids, mask = values.pop("token_ids"), values.pop("padding_mask")
    encoder = restored(prefix, {key: int(n) for key, n in values.items()})
    outputs = encoder(
        {
            "input_word_ids": tf.constant(token_ids),
            "input_mask": tf.constant(mask),
            "input_type_ids": tf.zeros_like(token_ids),
        }
    )
    np.savez(outputs_file, hidden_states=outputs["sequence_output"].numpy())


def restored(prefix: str, sizes: dict[str, int]) -> Any:
    """Returns an encoder with the weights of a checkpoint.

    Args:
        prefix: Prefix of the checkpoint.
        sizes: Keys of config.json.
    """
    import tensorflow as tf
    from official.nlp.modeling import networks

    shared = {
        "vocab_size": sizes["vocab_size"],
        "hidden_size": sizes["hidden_size"],
        "num_layers": sizes["num_hidden_layers"],
        "num_attention_heads": sizes["num_attention_heads"],
        "inner_dim": sizes["intermediate_size"],
        "max_sequence_length": sizes["max_position_embeddings"],
        "type_vocab_size": sizes["type_vocab_size"],
    }
    for create in (
        lambda: networks.BertEncoder(**shared, dict_outputs=True),
        lambda: networks.BertEncoderV2(**shared),
    ):
        encoder = create()
        encoder(encoder.inputs)
        # How a checkpoint names the encoder depends on what was saved.
        pretrainer = tf.Module()
        pretrainer.encoder_network = encoder
        for items in (
            {"encoder": encoder},
            {"model": encoder},
            {"model": pretrainer},
        ):
            status = tf.train.Checkpoint(**items).read(prefix)
            try:
                status.assert_existing_objects_matched()
            except AssertionError:
                continue
            return encoder
    raise ValueError("no encoder of it has the objects of the checkpoint")


if __name__ == "__main__":
    main(*sys.argv[1:])
