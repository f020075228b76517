"""Writes checkpoints of tf-models-official; a process of its own.

    python official_encoder.py FOLDER KIND

KIND is "encoder" or "pretrainer". official needs Keras 2, so no test imports
it.
"""

import json
import os
import pathlib
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
from official.modeling import activations
from official.nlp import modeling

SIZES = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_layers": 2,
    "num_attention_heads": 3,
}


def main(folder: str, kind: str) -> None:
    place = pathlib.Path(folder)
    place.mkdir()
    encoder = modeling.networks.BertEncoder(
        **SIZES,
        inner_dim=56,
        max_sequence_length=19,
        type_vocab_size=2,
        dict_outputs=True,
    )
    config = {
        "vocab_size": 53,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 56,
        "max_position_embeddings": 19,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
    }
    (place / "bert_config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 53, (2, 9)).astype("int32")
    mask = (np.arange(9) < [[9], [6]]).astype("int32")
    inputs = {
        "input_word_ids": tf.constant(ids * mask),
        "input_mask": tf.constant(mask),
        "input_type_ids": tf.zeros((2, 9), "int32"),
    }
    model, items = encoder, {"encoder": encoder}
    if kind == "pretrainer":
        head = modeling.layers.ClassificationHead(
            inner_dim=24, num_classes=2, name="next_sentence"
        )
        model = modeling.models.BertPretrainerV2(
            encoder_network=encoder,
            mlm_activation=activations.gelu,
            classification_heads=[head],
        )
        inputs["masked_lm_positions"] = tf.constant([[1, 3], [2, 0]])
        items = {"model": model}
    model(inputs)
    for v in model.variables:
        center = 1.0 if "gamma" in v.name else 0.0
        v.assign(center + 0.2 * rng.normal(size=v.shape))
    outputs = {
        k: np.asarray(v)
        for k, v in model(inputs).items()
        if k != "encoder_outputs"
    }
    outputs["hidden"] = np.asarray(encoder(inputs)["sequence_output"])
    tf.train.Checkpoint(**items).write(str(place / "bert_model.ckpt"))
    np.savez(place / "outputs.npz", ids=ids * mask, mask=mask, **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
