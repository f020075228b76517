"""Causal language modelling: predict every token from those before it."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.models import LanguageModel, TransformerConfig
from tfllm.tasks.batches import Sums, Tensors
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.targets import IGNORED, Target
from tfllm.tasks.task import Task
from tfllm.tasks.text_generation import TextGeneration, generate_texts


@keras.saving.register_keras_serializable("tfllm")
class CausalLM(Task):
    """Causal language model, GPT's pretraining task: predict the next token.

    Args:
        config: TransformerConfig with `block.attention.causal`.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `padding_mask`, `position_ids`, `document_ids` [B, T].
        training: Apply dropout.

    Returns:
        Dict of `clm`, float32 [B, T, V]: logits of the next tokens.

    Reference: Radford et al., 2019, section 2.
    """

    kind = "causal_lm"
    objectives = ("clm",)
    is_labelled = False
    generates = True
    heads = (LanguageModel.architecture,)
    hub_tag = "text-generation"
    pipeline = "text-generation"
    feature_names = (
        "token_ids",
        "padding_mask",
        "position_ids",
        "document_ids",
    )
    text_names = (("text",),)
    # Set when a folder is loaded; `generate` needs it.
    text: TextGeneration | None = None

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.create_model(LanguageModel)

    @classmethod
    def fits(cls, model: TransformerConfig) -> bool:
        """Returns whether the model is a decoder alone."""
        return model.kind == "decoder"

    @classmethod
    def title_of(cls, kind: str) -> str:
        """Returns the usual name of the task."""
        return "causal language modelling"

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns `clm`, the logits of the next tokens, [B, T, V]."""
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
            prompts: Texts to continue.
            draft: Much smaller task of the same vocabulary, which proposes
                tokens that this one checks.
            **options: Fields of `tfllm.generation.GenerationConfig`; they
                replace those of the folder.

        Returns:
            Continuations without the prompts, `num_return_sequences` per
            prompt, in the order of the prompts.

        Raises:
            ValueError: The task has no tokenizer, or
                `tfllm.generation.generate` refuses the arguments.
        """
        return generate_texts(self, prompts, draft, options)

    def targets(self) -> dict[str, Target]:
        """Returns the labels: next tokens, int32 [B, T]."""
        return {"clm": Target("BT", size=self.config.vocab_size)}

    def read_texts(
        self, texts: dict[str, Any], y: Any, sample_weight: Any
    ) -> tuple[Tensors, Any, Any]:
        """Returns a batch whose labels are the next tokens of texts.

        The end-of-text token, if the tokenizer has one, ends every text that
        is not cut. sample_weight is [B], a factor of each text.
        """
        if y is not None:
            raise ValueError(
                "labels of texts are their own next tokens. Received: y "
                "beside texts. Leave it out."
            )
        tokenizer = self.tokenizer_for(texts)
        # One more token, for the label of the last input.
        longest = self.row_length() + 1
        rows = tokenizer(texts["text"], padding=False, max_length=longest)[
            "token_ids"
        ]
        if tokenizer.special.eos is not None:
            ends = tf.fill([rows.nrows(), 1], tokenizer.special.eos)
            rows = tf.concat([rows, ends], axis=1)[:, :longest]  # [B, (T + 1)]
        inputs, labels = rows[:, :-1], rows[:, 1:]  # [B, (T)]
        mask = tf.sequence_mask(inputs.row_lengths(), dtype=tf.int32)  # [B, T]
        x = {"token_ids": inputs.to_tensor(), "padding_mask": mask}
        return x, {"clm": labels.to_tensor(IGNORED)}, sample_weight

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the cross-entropy and of the hits."""
        return {
            "clm": cross_entropy_sums(
                y["clm"], outputs["clm"], sample_weight["clm"]
            )
        }
