"""tfllm itself, through the train function that its `fit` calls.

Variants: `no_jit` and `jit`, the two values of `jit_compile`.
"""

from typing import Any

from tools.peers import protocol
from tools.peers.protocol import Work


class TfllmSide:
    """Trains a `MaskedLM` task with next-sentence prediction."""

    def load(self) -> dict[str, str]:
        """Imports tfllm's model, task and optimizers."""
        import keras
        import tensorflow as tf

        import tfllm
        from tfllm.models import bert
        from tfllm.tasks import masked_lm
        from tfllm.training import optimizers

        self.keras, self.tf = keras, tf
        self.bert, self.masked_lm = bert, masked_lm
        self.optimizers = optimizers
        return {
            "tfllm": tfllm.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        }

    def build(self, work: Work, variant: str) -> str:
        """Builds and compiles the task and starts its input."""
        config = self.bert.config(
            num_layers=work.num_layers,
            hidden_size=work.hidden_size,
            num_heads=work.num_heads,
            intermediate_size=work.intermediate_size,
            vocab_size=work.vocab_size,
            max_position_embeddings=work.max_position_embeddings,
            dropout=work.dropout,
        )
        self.keras.utils.set_random_seed(work.seed)
        task = self.masked_lm.MaskedLM(config, pair_objective="nsp")
        optimizer = self.optimizers.create(
            self.optimizers.OptimizerConfig(
                name="adamw",
                weight_decay=work.weight_decay,
                clip_norm=work.clip_norm,
            ),
            work.learning_rate,
        )
        task.compile(optimizer, jit_compile=variant == "jit")
        self.train_function = task.make_train_function()
        self.iterator = self._make_iterator(work)
        return f"jit_compile={variant == 'jit'}"

    def _make_iterator(self, work: Work) -> Any:
        from tools.peers import batch as batches

        batch = batches.make_batch(work)
        labels = {name: batch.pop(name) for name in ("mlm", "nsp")}
        weights = {
            name: self.tf.ones(value.shape) for name, value in labels.items()
        }
        dataset = self.tf.data.Dataset.from_tensors((batch, labels, weights))
        return iter(dataset.repeat())

    def step(self) -> float:
        """One call of the task's train function."""
        return float(self.train_function(self.iterator)["loss"])


if __name__ == "__main__":
    protocol.serve(TfllmSide)
