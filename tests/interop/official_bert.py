"""Runs a TF1 checkpoint in tf-models-official; a process of its own.

    python official_bert.py FOLDER INPUTS.npz OUTPUTS.npz

official loads Keras 2 and registers global flags, so no test imports it.
"""

import os
import pathlib
import sys

import numpy as np
import tensorflow as tf
from official.legacy.bert import configs
from official.nlp.modeling import layers
from official.nlp.tools import tf1_bert_checkpoint_converter_lib as converter
from official.nlp.tools import tf2_bert_encoder_checkpoint_converter as models


def main(folder: str, inputs_file: str, outputs_file: str) -> None:
    config = configs.BertConfig.from_json_file(
        os.path.join(folder, "bert_config.json")
    )
    converted = str(pathlib.Path(outputs_file).with_suffix("")) + "_v2"
    converter.convert(
        checkpoint_from_path=os.path.join(folder, "bert_model.ckpt"),
        checkpoint_to_path=converted,
        num_heads=config.num_attention_heads,
        name_replacements=converter.BERT_V2_NAME_REPLACEMENTS,
        permutations=converter.BERT_V2_PERMUTATIONS,
        exclude_patterns=["adam", "Adam"],
    )
    model = models._create_bert_pretrainer_model(config)
    model.load_weights(converted).assert_existing_objects_matched()
    # Its pretrainer gives the sequence head a pooler of its own; the
    # published one sits on the encoder's.
    head = layers.ClassificationHead(inner_dim=0, num_classes=2)
    inputs = dict(np.load(inputs_file))
    outputs = model(
        {
            "input_word_ids": tf.constant(inputs["token_ids"]),
            "input_mask": tf.constant(inputs["padding_mask"]),
            "input_type_ids": tf.constant(inputs["segment_ids"]),
            "masked_lm_positions": tf.constant(inputs["masked_positions"]),
        },
        training=False,
    )
    head(outputs["pooled_output"])
    reader = tf.train.load_checkpoint(converted)
    head.out_proj.set_weights(
        [
            reader.get_tensor(f"predictions/transform/logits/{name}")
            for name in ("kernel", "bias")
        ]
    )
    np.savez(
        outputs_file,
        hidden_states=outputs["sequence_output"].numpy(),
        mlm=outputs["mlm_logits"].numpy(),
        nsp=head(outputs["pooled_output"]).numpy(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
