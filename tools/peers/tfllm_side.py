"""tfllm, through the functions that `fit` and `generate` call.

Variants: `no_jit` and `jit`, the two values of `jit_compile`; the suffix
`+draft` generates with a draft model, see `_make_draft`.
"""

import dataclasses
import inspect
from typing import Any

import numpy as np

from tools.peers import batch as batches
from tools.peers import protocol
from tools.peers.protocol import Work

# Labels of the texts for fine-tuning.
LABELS = ("ham", "spam")


class TfllmSide:
    """Trains a task, or generates with it."""

    def load(self) -> dict[str, str]:
        """Imports tfllm's models, tasks and optimizers, as the verbs do."""
        import tfllm.lean_keras

        # isort: split
        import keras
        import tensorflow as tf

        import tfllm
        from tfllm import models, tasks, tokenizers
        from tfllm.data.labelled.batches import open_labelled_data
        from tfllm.data.labelled.config import LabelledDataConfig
        from tfllm.data.tables.config import TableConfig
        from tfllm.generation import GenerationConfig
        from tfllm.generation.generate import generate
        from tfllm.learning import optimizers

        self.keras, self.tf = keras, tf
        self.families, self.tasks = models.FAMILIES, tasks
        self.optimizers = optimizers
        self.generate, self.generation_config = generate, GenerationConfig
        self.tokenizers = tokenizers
        self.open_labelled_data = open_labelled_data
        self.data_configs = LabelledDataConfig, TableConfig
        return {
            "tfllm": tfllm.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        }

    def build(self, work: Work, variant: str) -> str:
        """Builds the task; for training also optimizer and input."""
        self.keras.utils.set_random_seed(work.seed)
        jit, _, draft = variant.partition("+")
        jit_compile = jit == "jit"
        task = self._make_task(work)
        note = ""
        if work.kind == "generate":
            note = self._prepare_generation(
                task,
                work,
                jit_compile=jit_compile,
                draft=self._make_draft(task) if draft else None,
            )
        else:
            note = self._prepare_training(task, work, jit_compile)
        return f"jit_compile={jit_compile}{note}"

    def _make_draft(self, task: Any) -> Any:
        """Returns a model of the task's first two layers.

        With fresh weights the later layers rarely change the most probable
        token, so the draft agrees with the model as a trained draft does on
        easy text.
        """
        decoder = dataclasses.replace(task.config.decoder, num_layers=2)
        config = dataclasses.replace(task.config, decoder=decoder)
        draft = self.tasks.CausalLM(config)
        theirs, ours = task.model.transformer, draft.model.transformer
        for part in ("embeddings", "final_norm"):
            _copy_weights(getattr(theirs, part), getattr(ours, part))
        for block, copy in zip(theirs.blocks, ours.blocks, strict=False):
            _copy_weights(block, copy)
        return draft.model

    def _make_task(self, work: Work) -> Any:
        create = self.families[work.family].config
        shape = {
            "num_layers": work.num_layers,
            "hidden_size": work.hidden_size,
            "embedding_size": work.embedding_size or work.hidden_size,
            "num_heads": work.num_heads,
            "intermediate_size": work.intermediate_size,
            "vocab_size": work.vocab_size,
            "max_position_embeddings": work.max_position_embeddings,
            "dropout": work.dropout,
        }
        # Not each family has each of them.
        known = inspect.signature(create).parameters
        config = create(**{k: v for k, v in shape.items() if k in known})
        if work.kind == "mlm":
            return self.tasks.MaskedLM(
                config, pair_objective=config.pair_objective
            )
        if work.kind == "finetune":
            return self.tasks.create("classification", config, labels=LABELS)
        if config.kind == "encoder_decoder":
            return self.tasks.Seq2SeqLM(config)
        return self.tasks.CausalLM(config)

    def _prepare_training(
        self, task: Any, work: Work, jit_compile: bool
    ) -> str:
        """Compiles the task, opens its input, returns a note on it."""
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
        note = ""
        if work.kind == "finetune":
            data = self._open_texts(work)
            iterator = iter(data.dataset())
            note = f", batches of about one length, {data.widths.tolist()} wide"
        else:
            iterator = self._make_iterator(work)
            self._traced = lambda: self.tf.function(
                train, autograph=False
            ).get_concrete_function(iterator)

        def step() -> float:
            # The loss of this step alone, not the mean of all so far.
            task.reset_metrics()
            return float(train(iterator)["loss"])

        self._step = step
        return note

    def _open_texts(self, work: Work) -> Any:
        """Returns the LabelledData of the texts, as the train verb does."""
        data_config, table_config = self.data_configs
        return self.open_labelled_data(
            work.text,
            self.tokenizers.load_tokenizer(work.vocabulary),
            data_config(
                seq_length=work.seq_length,
                batch_size=work.batch_size,
                text_column="1",
                label_column="0",
                table=table_config(delimiter="tab", has_header=False),
                seed=work.seed,
            ),
        )

    def _make_iterator(self, work: Work) -> Any:
        if work.kind == "mlm":
            batch = batches.make_batch(work)
            labels = {name: batch.pop(name) for name in ("mlm", "nsp")}
        elif work.kind == "seq2seq":
            source_ids, target_ids = batches.make_pairs(work)
            # The decoder reads its start, id 0, and the tokens before.
            starts = np.zeros_like(target_ids[:, :1])
            batch = {
                "source_ids": source_ids,
                "token_ids": np.hstack([starts, target_ids[:, :-1]]),
            }
            labels = {"seq2seq": target_ids}
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
        self, task: Any, work: Work, jit_compile: bool, draft: Any
    ) -> str:
        """Prepares generation; returns a note on the draft."""
        prompts = batches.make_tokens(work).tolist()
        config = self.generation_config(
            max_new_tokens=work.new_tokens, num_beams=work.num_beams
        )

        def generate() -> Any:
            return self.generate(
                task.model,
                prompts,
                config,
                draft=draft,
                jit_compile=jit_compile,
            )

        self._step = lambda: float(
            sum(len(ids[0]) for ids in generate().sequences)
        )
        if draft is None:
            return ""
        rate = generate().acceptance_rate
        return f", draft of 2 layers, {rate:.0%} of its tokens accepted"

    def step(self) -> float:
        """Calls the train function, or `generate`."""
        return self._step()

    def products(self) -> float:
        """Returns the seconds of the matrix products of a training step."""
        from tools.peers import matrix_products

        return matrix_products.seconds_of_products(self._traced())


def _copy_weights(source: Any, target: Any) -> None:
    target.set_weights(source.get_weights())


if __name__ == "__main__":
    protocol.serve(TfllmSide)
