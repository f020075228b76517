"""Extractive question answering: find the span of a text that answers."""

from typing import Any

import keras

from tfllm.models import SpanModel, TransformerConfig
from tfllm.tasks.batches import MODEL_INPUTS, Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task


@keras.saving.register_keras_serializable("tfllm")
class QuestionAnswering(Task):
    """Finds the first and the last token of the answer in a window.

    The loss is the mean of the cross-entropies of both.

    Args:
        config: TransformerConfig.
        null_threshold: Score of "no answer", less that of the best span,
            above which there is no answer; None if every question has one.
            Evaluation sets it, prediction uses it.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `padding_mask`, `segment_ids`, `position_ids` [B, T], and
            `answer_mask` [B, T], true where an answer may start or end.
        training: Apply dropout.

    Returns:
        Dict of `start` and `end`, float32 [B, T]. The labels in y are int32
        [B]; weights are float32 [B].

    NOTE: without `answer_mask` all positions compete, padding included, as in
    Transformers. The loss then depends on the padding of the rows, and the
    embedding of padding learns, unlike in torch.

    Reference: Devlin et al., 2019, sections 4.2 and 4.3.
    """

    kind = "question_answering"
    objectives = ("start", "end")
    has_null_threshold = True
    heads = (SpanModel.architecture,)
    hub_tag = "question-answering"
    pipeline = "question-answering"
    feature_names = (*MODEL_INPUTS, "answer_mask")
    text_names = (("question", "context"), ("text", "text_pair"))
    no_fit_on_texts = (
        "answers are positions in texts. Use `tfllm.data.labelled.batches`, "
        "which reads SQuAD's files, or the train verb."
    )
    # As in the code of the reference.
    usual_length = 384

    def __init__(
        self,
        config: TransformerConfig,
        null_threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.null_threshold = null_threshold
        self.create_model(SpanModel)

    def share_of(self, objective: str) -> float:
        """Returns 0.5: the loss is the mean over start and end."""
        return 0.5

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns the logits `start` and `end`, [B, T]."""
        return self.model(
            **model_inputs(inputs),
            answer_mask=inputs.get("answer_mask"),
            training=training,
        )

    def targets(self) -> dict[str, Target]:
        """Returns the labels: positions of start and end, int32 [B]."""
        return {name: Target() for name in self.objectives}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the cross-entropy and of the hits."""
        return {
            name: cross_entropy_sums(
                y[name], outputs[name], sample_weight[name]
            )
            for name in self.objectives
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "null_threshold": self.null_threshold}
