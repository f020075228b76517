"""Extractive question answering: the span of a text that answers."""

from typing import Any

import keras

from tfllm.models import SpanModel, TransformerConfig
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.task import Task


@keras.saving.register_keras_serializable("tfllm")
class QuestionAnswering(Task):
    """First and last token of the answer, two distributions over a window.

    The loss is the mean of the two cross-entropies.

    Args:
        config: TransformerConfig.
        null_threshold: How much better than the best span "no answer" must
            score to be the answer; None where every question has one. The
            task only keeps it: evaluation finds it, prediction uses it.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `padding_mask`, `segment_ids`, `position_ids` [B, T], and
            `answer_mask` [B, T], true where an answer may begin or end.
        training: Apply dropout.

    Returns:
        Dict of `start` and `end`, float32 [B, T]. The labels in y are int32
        [B]; weights are float32 [B].

    NOTE: without `answer_mask` every position competes, padding included,
    as in the Transformers library; then the loss depends on how far rows
    are padded, and the embedding of padding learns, which torch's does not.

    Reference: Devlin et al., 2019, sections 4.2 and 4.3.
    """

    kind = "question_answering"
    objectives = ("start", "end")
    # That of the reference's code.
    usual_length = 384

    def __init__(
        self,
        config: TransformerConfig,
        null_threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        """See the class."""
        super().__init__(**kwargs)
        self.config = config
        self.null_threshold = null_threshold
        self.model = SpanModel(config, name="model", dtype=self.dtype_policy)
        self.model.build()
        self.create_metrics()
        self.built = True

    def share_of(self, objective: str) -> float:
        """See the base class."""
        return 0.5

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """See the class."""
        return self.model(
            **model_inputs(inputs),
            answer_mask=inputs.get("answer_mask"),
            training=training,
        )

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """See the base class."""
        return {
            name: cross_entropy_sums(
                y[name], outputs[name], sample_weight[name]
            )
            for name in self.objectives
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "null_threshold": self.null_threshold}
