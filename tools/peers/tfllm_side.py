"""tfllm itself, through the functions that `fit` and `generate` call.

Variants: `no_jit` and `jit`, the two values of `jit_compile`.
"""

from typing import Any

from tools.peers import batch as batches
from tools.peers import protocol
from tools.peers.protocol import Work


class TfllmSide:
    """Trains a `MaskedLM` or a `CausalLM` task, or generates with one."""

    def load(self) -> dict[str, str]:
        """Imports tfllm's models, tasks and optimizers."""
        import keras
        import tensorflow as tf

        import tfllm
        from tfllm import generation, models, tasks
        from tfllm.training import optimizers

        self.keras, self.tf = keras, tf
        self.families, self.tasks = models.FAMILIES, tasks
        self.optimizers, self.generation = optimizers, generation
        return {
            "tfllm": tfllm.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        }

    def build(self, work: Work, variant: str) -> str:
        """Builds the task, and its optimizer and input if it is trained."""
        self.keras.utils.set_random_seed(work.seed)
        jit_compile = variant == "jit"
        task = self._make_task(work)
        if work.kind == "generate":
            self._prepare_generation(task, work, jit_compile)
        else:
            self._prepare_training(task, work, jit_compile)
        return f"jit_compile={jit_compile}"

    def _make_task(self, work: Work) -> Any:
        family = self.families["bert" if work.kind == "mlm" else "gpt2"]
        config = family.config(
            num_layers=work.num_layers,
            hidden_size=work.hidden_size,
            num_heads=work.num_heads,
            intermediate_size=work.intermediate_size,
            vocab_size=work.vocab_size,
            max_position_embeddings=work.max_position_embeddings,
            dropout=work.dropout,
        )
        if work.kind == "mlm":
            return self.tasks.MaskedLM(config, pair_objective="nsp")
        return self.tasks.CausalLM(config)

    def _prepare_training(
        self, task: Any, work: Work, jit_compile: bool
    ) -> None:
        optimizer = self.optimizers.create(
            self.optimizers.OptimizerConfig(
                name="adamw",
                weight_decay=work.weight_decay,
                clip_norm=work.clip_norm,
            ),
            work.learning_rate,
        )
        task.compile(optimizer, jit_compile=jit_compile)
        train = task.make_train_function()
        iterator = self._make_iterator(work)
        self._step = lambda: float(train(iterator)["loss"])

    def _make_iterator(self, work: Work) -> Any:
        if work.kind == "mlm":
            batch = batches.make_batch(work)
            labels = {name: batch.pop(name) for name in ("mlm", "nsp")}
        else:
            tokens = batches.make_tokens(work)
            batch = {"token_ids": tokens[:, :-1]}
            labels = {"clm": tokens[:, 1:]}
        weights = {
            name: self.tf.ones(value.shape) for name, value in labels.items()
        }
        dataset = self.tf.data.Dataset.from_tensors((batch, labels, weights))
        return iter(dataset.repeat())

    def _prepare_generation(
        self, task: Any, work: Work, jit_compile: bool
    ) -> None:
        prompts = batches.make_tokens(work).tolist()
        config = self.generation.GenerationConfig(
            max_new_tokens=work.new_tokens
        )

        def generate() -> float:
            output = self.generation.generate(
                task.model, prompts, config, jit_compile=jit_compile
            )
            return float(sum(len(ids[0]) for ids in output.sequences))

        self._step = generate

    def step(self) -> float:
        """One call of the train function, or of `generate`."""
        return self._step()


if __name__ == "__main__":
    protocol.serve(TfllmSide)
