"""Multiple choice: which of several sequences is right."""

from typing import Any

import keras
import tensorflow as tf

from tfllm.models import ChoiceModel, TransformerConfig
from tfllm.models.task_models import HIDDEN_LOGIT, hidden
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import check_smoothing, cross_entropy_sums
from tfllm.tasks.task import Task


@keras.saving.register_keras_serializable("tfllm")
class MultipleChoice(Task):
    """A distribution over the choices of an example.

    Args:
        config: TransformerConfig.
        label_smoothing: Share of the target that goes to all choices of an
            example alike, in training and in evaluation.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, C, T], one sequence per choice,
            and optionally `padding_mask`, `segment_ids`, `position_ids`
            [B, C, T], and `choice_mask` [B, C], true where an example has
            such a choice: elsewhere logits are lower by `HIDDEN_LOGIT`.
        training: Apply dropout.

    Returns:
        Dict of `multiple_choice`, float32 [B, C]. The labels in y are int32
        [B]; weights are float32 [B].

    Reference: Devlin et al., 2019, section 4.4.
    """

    kind = "multiple_choice"
    objectives = ("multiple_choice",)

    def __init__(
        self,
        config: TransformerConfig,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """See the class."""
        super().__init__(**kwargs)
        self.config = config
        self.label_smoothing = check_smoothing(label_smoothing)
        self.model = ChoiceModel(config, name="model", dtype=self.dtype_policy)
        self.model.build()
        self.create_metrics()
        self.built = True

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """See the class."""
        logits = self.model(**model_inputs(inputs), training=training)
        if "choice_mask" in inputs:
            logits = hidden(logits, inputs["choice_mask"])
        return {"multiple_choice": logits}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """See the base class."""
        labels, logits = y["multiple_choice"], outputs["multiple_choice"]
        weights = sample_weight["multiple_choice"]
        loss, hits = cross_entropy_sums(labels, logits, weights)
        if self.label_smoothing:
            loss += self.label_smoothing * _smoothing(labels, logits, weights)
        return {"multiple_choice": (loss, hits)}

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
        }


def _smoothing(
    labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Returns what the loss gains if the target is all choices alike.

    That is the weighted sum of how far the logit of the label lies above the
    mean over the choices that there are.
    """
    is_one = tf.cast(logits > -HIDDEN_LOGIT / 2, tf.float32)
    sums = tf.reduce_sum(logits * is_one, axis=1)
    means = sums / tf.reduce_sum(is_one, axis=1)
    chosen = tf.gather(logits, labels, batch_dims=1)
    return tf.reduce_sum((chosen - means) * weights)
