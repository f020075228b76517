"""KerasHub on Keras 3 with the TensorFlow backend.

Variants: `auto`, `jit`, `no_jit`, the three values of `jit_compile`. KerasHub
has no next-sentence head, so its step is less work than that of the others.
"""

import os
from typing import Any

from tools.peers import batch as batches
from tools.peers import protocol, texts
from tools.peers.protocol import Work

_JIT_COMPILE = {"auto": "auto", "jit": True, "no_jit": False}


class KerasHubSide:
    """Calls the compiled functions that `fit` and `generate` call."""

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
        backbone = self._make_backbone(work)
        models = self.keras_hub.models
        note = ""
        if work.kind == "finetune":
            task = self._make_classifier(backbone, work)
            note = f"all texts padded to {work.seq_length}, "
        else:
            task_class, note = {
                "bert": (models.BertMaskedLM, "no NSP, "),
                "albert": (models.AlbertMaskedLM, "no sentence order, "),
                "gpt2": (models.GPT2CausalLM, ""),
                "llama": (models.LlamaCausalLM, ""),
            }[work.family]
            task = task_class(backbone)
        if work.kind == "generate":
            self._prepare_generation(task, work, variant)
        else:
            self._prepare_training(task, work, variant)
        return f"{note}jit_compile={task.jit_compile}"

    def _make_backbone(self, work: Work) -> Any:
        """Returns the model without a head."""
        models = self.keras_hub.models
        shape = {
            "vocabulary_size": work.vocab_size,
            "num_layers": work.num_layers,
            "hidden_dim": work.hidden_size,
            "intermediate_dim": work.intermediate_size,
            "dropout": work.dropout,
        }
        if work.family == "llama":
            return models.LlamaBackbone(
                num_query_heads=work.num_heads,
                num_key_value_heads=work.num_heads,
                **shape,
            )
        shape["num_heads"] = work.num_heads
        shape["max_sequence_length"] = work.max_position_embeddings
        if work.family == "albert":
            return models.AlbertBackbone(
                embedding_dim=work.embedding_size, **shape
            )
        return {"bert": models.BertBackbone, "gpt2": models.GPT2Backbone}[
            work.family
        ](**shape)

    def _prepare_training(self, task: Any, work: Work, variant: str) -> None:
        optimizer = self.keras.optimizers.AdamW(
            learning_rate=work.learning_rate,
            weight_decay=work.weight_decay,
            epsilon=1e-6,
            global_clipnorm=work.clip_norm,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        task.compile(
            optimizer=optimizer,
            # Accuracy is not part of the compared step.
            weighted_metrics=[],
            # The default loss of the task classes.
            loss=self.keras.losses.SparseCategoricalCrossentropy(
                from_logits=True
            ),
            jit_compile=_JIT_COMPILE[variant],
        )
        task.make_train_function()
        train = task.train_function
        iterator = (
            self._make_text_iterator(work, task.preprocessor)
            if work.kind == "finetune"
            else self._make_iterator(work)
        )

        def step() -> float:
            # The loss of this step alone, not the mean of all so far.
            task.reset_metrics()
            logs = train(iterator)
            return float(logs["loss"] if isinstance(logs, dict) else logs)

        self._step = step

    def _make_classifier(self, backbone: Any, work: Work) -> Any:
        """Returns a classifier that takes texts."""
        models = self.keras_hub.models
        preprocessor = models.BertTextClassifierPreprocessor(
            self.keras_hub.tokenizers.BertTokenizer(
                work.vocabulary, lowercase=True
            ),
            sequence_length=work.seq_length,
        )
        return models.BertTextClassifier(
            backbone,
            num_classes=2,
            preprocessor=preprocessor,
            dropout=work.dropout,
        )

    def _make_text_iterator(self, work: Work, preprocessor: Any) -> Any:
        """Returns batches as `fit` makes them with a preprocessor."""
        read, labels = texts.read(work.text)
        dataset = self.tf.data.Dataset.from_tensor_slices((read, labels))
        return iter(
            dataset.shuffle(len(read))
            .repeat()
            .batch(work.batch_size)
            .map(preprocessor, num_parallel_calls=self.tf.data.AUTOTUNE)
            .prefetch(self.tf.data.AUTOTUNE)
        )

    def _make_iterator(self, work: Work) -> Any:
        if work.kind == "mlm":
            batch = batches.make_batch(work)
            inputs = {
                "token_ids": batch["token_ids"],
                "segment_ids": batch["segment_ids"],
                "padding_mask": batch["padding_mask"],
                "mask_positions": batch["masked_positions"],
            }
            labels = batch["mlm"]
        else:
            tokens = batches.make_tokens(work)
            inputs = {
                "token_ids": tokens[:, :-1],
                "padding_mask": self.tf.ones_like(tokens[:, :-1]),
            }
            labels = tokens[:, 1:]
        dataset = self.tf.data.Dataset.from_tensors(
            (inputs, labels, self.tf.ones(labels.shape))
        )
        return iter(dataset.repeat())

    def _prepare_generation(self, task: Any, work: Work, variant: str) -> None:
        task.compile(sampler="greedy", jit_compile=_JIT_COMPILE[variant])
        generate = task.make_generate_function()
        prompts = batches.make_tokens(work)
        room = [[0, 0], [0, work.new_tokens]]
        inputs = {
            "token_ids": self.tf.pad(prompts, room),
            "padding_mask": self.tf.pad(self.tf.ones_like(prompts), room),
        }

        def step() -> float:
            ids = generate(inputs, None)["token_ids"].numpy()
            return float(ids[:, prompts.shape[1] :].size)

        self._step = step

    def step(self) -> float:
        """Calls Keras' train function, or the generate function."""
        return self._step()


if __name__ == "__main__":
    protocol.serve(KerasHubSide)
