"""tf-models-official's BertPretrainerV2 on Keras 2 (tf_keras).

Variants: `jit` and `no_jit`, the `jit_compile` of the step's tf.function.
The optimizer is the library's own for BERT: AdamWeightDecay, which clips the
global norm to 1.0.
"""

import os
from typing import Any

from tools.peers import protocol
from tools.peers.protocol import Work


class OfficialSide:
    """Trains as the library's masked_lm task does, without its metrics."""

    def load(self) -> dict[str, str]:
        """Imports the library's networks and optimizer."""
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import importlib.metadata

        import tensorflow as tf
        import tf_keras
        from official.modeling import tf_utils
        from official.modeling.optimization import legacy_adamw
        from official.nlp.modeling import layers, models, networks

        self.tf, self.tf_keras, self.tf_utils = tf, tf_keras, tf_utils
        self.layers, self.models, self.networks = layers, models, networks
        self.optimizer_class = legacy_adamw.AdamWeightDecay
        return {
            "tf-models-official": importlib.metadata.version(
                "tf-models-official"
            ),
            "tf_keras": tf_keras.__version__,
            "tensorflow": tf.__version__,
        }

    def build(self, work: Work, variant: str) -> str:
        """Builds the pretrainer, the optimizer and the step."""
        tf = self.tf
        self.tf_keras.utils.set_random_seed(work.seed)
        model = self._make_model(work)
        optimizer = self.optimizer_class(
            learning_rate=work.learning_rate,
            weight_decay_rate=work.weight_decay,
            epsilon=1e-6,
            exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"],
            gradient_clip_norm=work.clip_norm,
        )
        cross_entropy = self.tf_keras.losses.sparse_categorical_crossentropy

        def train_step(batch: dict[str, Any]) -> Any:
            with tf.GradientTape() as tape:
                outputs = model(batch["inputs"], training=True)
                loss = tf.reduce_mean(
                    cross_entropy(
                        batch["mlm"], outputs["mlm_logits"], from_logits=True
                    )
                ) + tf.reduce_mean(
                    cross_entropy(
                        batch["nsp"],
                        outputs["next_sentence"],
                        from_logits=True,
                    )
                )
            weights = model.trainable_variables
            gradients = tape.gradient(loss, weights)
            optimizer.apply_gradients(zip(gradients, weights, strict=True))
            return loss

        self.train_step = tf.function(train_step, jit_compile=variant == "jit")
        self.batch = self._make_batch(work)
        return f"jit_compile={variant == 'jit'}"

    def _make_model(self, work: Work) -> Any:
        initializer = self.tf_keras.initializers.TruncatedNormal(stddev=0.02)
        gelu = self.tf_utils.get_activation("gelu")
        encoder = self.networks.BertEncoder(
            vocab_size=work.vocab_size,
            hidden_size=work.hidden_size,
            num_layers=work.num_layers,
            num_attention_heads=work.num_heads,
            max_sequence_length=work.max_position_embeddings,
            inner_dim=work.intermediate_size,
            inner_activation=gelu,
            output_dropout=work.dropout,
            attention_dropout=work.dropout,
            initializer=initializer,
        )
        next_sentence = self.layers.ClassificationHead(
            inner_dim=work.hidden_size,
            num_classes=2,
            dropout_rate=work.dropout,
            initializer=initializer,
            name="next_sentence",
        )
        return self.models.BertPretrainerV2(
            encoder,
            mlm_activation=gelu,
            mlm_initializer=initializer,
            classification_heads=[next_sentence],
        )

    def _make_batch(self, work: Work) -> dict[str, Any]:
        from tools.peers import batch as batches

        batch = {
            name: self.tf.constant(value)
            for name, value in batches.make_batch(work).items()
        }
        return {
            "inputs": {
                "input_word_ids": batch["token_ids"],
                "input_mask": batch["padding_mask"],
                "input_type_ids": batch["segment_ids"],
                "masked_lm_positions": batch["masked_positions"],
            },
            "mlm": batch["mlm"],
            "nsp": batch["nsp"],
        }

    def step(self) -> float:
        """Calls the compiled step."""
        return float(self.train_step(self.batch))


if __name__ == "__main__":
    protocol.serve(OfficialSide)
