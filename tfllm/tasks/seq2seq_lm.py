"""Sequence-to-sequence language modelling: write a text from another one."""

from collections.abc import Sequence
from typing import Any, NoReturn

import keras

from tfllm.models import LanguageModel, TransformerConfig
from tfllm.tasks.batches import Sums, Tensors
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task
from tfllm.tasks.text_generation import TextGeneration, generate_texts


@keras.saving.register_keras_serializable("tfllm")
class Seq2SeqLM(Task):
    """Encoder-decoder language model: T5's and BART's pretraining task.

    The encoder reads a source, and the decoder predicts the next token of the
    target. Labels of `IGNORED` do not count.

    Args:
        config: TransformerConfig with an `encoder` and a `decoder`.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], the input of the decoder:
            `decoder_start_token_id` and the labels but for the last;
            `source_ids` [B, S]; and optionally `padding_mask` [B, T] and
            `source_mask` [B, S].
        training: Apply dropout.

    Returns:
        Dict of `seq2seq`, float32 [B, T, V]: logits of the next tokens.

    Reference: Raffel et al., 2020, section 3.1; Lewis et al., 2020.
    """

    kind = "seq2seq_lm"
    objectives = ("seq2seq",)
    is_labelled = False
    generates = True
    heads = ("seq2seq_lm",)
    hub_tag = "text2text-generation"
    pipeline = "text2text-generation"
    feature_names = ("token_ids", "padding_mask", "source_ids", "source_mask")
    text_names = ()
    no_fit_on_texts = (
        "its rows have a source and a target. Give arrays, or "
        "`open_denoising_data` of `tfllm.data.denoising.batches`."
    )
    # Set when a folder is loaded; `generate` needs it.
    text: TextGeneration | None = None

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.create_model(LanguageModel)

    @classmethod
    def fits(cls, model: TransformerConfig) -> bool:
        """Returns whether the model has an encoder and a decoder."""
        return model.kind == "encoder_decoder"

    @classmethod
    def title_of(cls, kind: str) -> str:
        """Returns the usual name of the task."""
        return "sequence-to-sequence language modelling"

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns `seq2seq`, the logits of the next tokens, [B, T, V]."""
        if "source_ids" not in inputs:
            raise ValueError(
                f"x must have `source_ids`. Received: {sorted(inputs)}"
            )
        outputs = self.model(
            inputs["token_ids"],
            padding_mask=inputs.get("padding_mask"),
            source_ids=inputs["source_ids"],
            source_mask=inputs.get("source_mask"),
            training=training,
        )
        return {"seq2seq": outputs["clm"]}

    def generate(
        self,
        sources: Sequence[str],
        draft: "Seq2SeqLM | None" = None,
        **options: Any,
    ) -> list[str]:
        """Writes texts for sources.

        Args:
            sources: Texts for the encoder.
            draft: Much smaller task of the same vocabulary, which proposes
                tokens that this one checks.
            **options: Fields of `tfllm.generation.GenerationConfig`; they
                replace those of the folder.

        Returns:
            Texts, `num_return_sequences` per source, in the order of the
            sources.

        Raises:
            ValueError: The task has no tokenizer, or
                `tfllm.generation.generate` refuses the arguments.
        """
        return generate_texts(self, sources, draft, options)

    def targets(self) -> dict[str, Target]:
        """Returns the labels: next tokens of the target, int32 [B, T]."""
        return {"seq2seq": Target("BT", size=self.config.vocab_size)}

    def tokenize(self, texts: dict[str, Any]) -> NoReturn:
        """Raises ValueError: a text alone has no target."""
        raise ValueError(
            f"{self.kind} takes no texts as x: {self.no_fit_on_texts} "
            "`generate` takes texts."
        )

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the cross-entropy and of the hits."""
        return {
            "seq2seq": cross_entropy_sums(
                y["seq2seq"], outputs["seq2seq"], sample_weight["seq2seq"]
            )
        }
