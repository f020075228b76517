"""Causal language modelling: every token from those before it."""

from collections.abc import Sequence
from typing import Any

import keras

from tfllm.models import LanguageModel, TransformerConfig
from tfllm.tasks.batches import Sums, Tensors
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.task import Task
from tfllm.tasks.text_generation import TextGeneration


@keras.saving.register_keras_serializable("tfllm")
class CausalLM(Task):
    """GPT's pretraining task: the next token.

    Args:
        config: TransformerConfig with `block.attention.causal`.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `padding_mask`, `position_ids`, `document_ids` [B, T].
        training: Apply dropout.

    Returns:
        Dict of `clm`, float32 [B, T, V]: logits of the token after each.

    Reference: Radford et al., 2019, section 2.
    """

    kind = "causal_lm"
    objectives = ("clm",)
    # Set by what loads a folder; `generate` needs them.
    text: TextGeneration | None = None

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(**kwargs)
        self.config = config
        self.model = LanguageModel(
            config, name="model", dtype=self.dtype_policy
        )
        self.model.build()
        self.create_metrics()
        self.built = True

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """See the class."""
        outputs = self.model(
            inputs["token_ids"],
            padding_mask=inputs.get("padding_mask"),
            position_ids=inputs.get("position_ids"),
            document_ids=inputs.get("document_ids"),
            training=training,
        )
        return {"clm": outputs["clm"]}

    def generate(
        self,
        prompts: Sequence[str],
        draft: "CausalLM | None" = None,
        **options: Any,
    ) -> list[str]:
        """Continues texts.

        Args:
            prompts: The texts.
            draft: A much smaller task of the same vocabulary, to propose
                tokens that this one checks.
            **options: Fields of `tfllm.generation.GenerationConfig`, for
                those of the folder.

        Returns:
            The continuations, without the prompts: `num_return_sequences`
            for the first prompt, then those of the next.

        Raises:
            ValueError: The task has no tokenizer; or see
                `tfllm.generation.generate`.
        """
        if self.text is None:
            raise ValueError(
                "`generate` needs a tokenizer. Received: a task without one. "
                "Load a model folder that has one, or set `task.text = "
                "TextGeneration(tokenizer)`."
            )
        found = self.text(self, prompts, draft, **options)
        return [c.text for several in found for c in several]

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """See the base class."""
        return {
            "clm": cross_entropy_sums(
                y["clm"], outputs["clm"], sample_weight["clm"]
            )
        }
