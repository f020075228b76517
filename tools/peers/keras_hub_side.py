"""KerasHub's BertMaskedLM on Keras 3 with the TensorFlow backend.

Variants: `auto`, `jit`, `no_jit`, the three values of `jit_compile`. There is
no next-sentence head in KerasHub, so its step is less work than the others'.
"""

import os
from typing import Any

from tools.peers import protocol
from tools.peers.protocol import Work

_JIT_COMPILE = {"auto": "auto", "jit": True, "no_jit": False}


class KerasHubSide:
    """Calls the train function that `fit` calls, without `fit` around it."""

    def load(self) -> dict[str, str]:
        """Imports keras_hub."""
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras
        import keras_hub
        import tensorflow as tf

        self.keras, self.keras_hub, self.tf = keras, keras_hub, tf
        return {
            "keras_hub": keras_hub.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        }

    def build(self, work: Work, variant: str) -> str:
        """Builds and compiles the task and starts its input."""
        self.keras.utils.set_random_seed(work.seed)
        backbone = self.keras_hub.models.BertBackbone(
            vocabulary_size=work.vocab_size,
            num_layers=work.num_layers,
            num_heads=work.num_heads,
            hidden_dim=work.hidden_size,
            intermediate_dim=work.intermediate_size,
            dropout=work.dropout,
            max_sequence_length=work.max_position_embeddings,
        )
        task = self.keras_hub.models.BertMaskedLM(backbone)
        optimizer = self.keras.optimizers.AdamW(
            learning_rate=work.learning_rate,
            weight_decay=work.weight_decay,
            epsilon=1e-6,
            global_clipnorm=work.clip_norm,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        task.compile(
            optimizer=optimizer,
            # Accuracy is no part of the step that is compared.
            weighted_metrics=[],
            jit_compile=_JIT_COMPILE[variant],
        )
        task.make_train_function()
        self.train_function = task.train_function
        self.iterator = self._make_iterator(work)
        return f"no NSP, jit_compile={task.jit_compile}"

    def _make_iterator(self, work: Work) -> Any:
        from tools.peers import batch as batches

        batch = batches.make_batch(work)
        inputs = {
            "token_ids": batch["token_ids"],
            "segment_ids": batch["segment_ids"],
            "padding_mask": batch["padding_mask"],
            "mask_positions": batch["masked_positions"],
        }
        weights = self.tf.ones(batch["mlm"].shape)
        dataset = self.tf.data.Dataset.from_tensors(
            (inputs, batch["mlm"], weights)
        )
        return iter(dataset.repeat())

    def step(self) -> float:
        """One call of Keras' own train function."""
        logs = self.train_function(self.iterator)
        return float(logs["loss"] if isinstance(logs, dict) else logs)


if __name__ == "__main__":
    protocol.serve(KerasHubSide)
