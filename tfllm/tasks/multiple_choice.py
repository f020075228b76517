"""Multiple choice: select the right one of several sequences."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfllm.models import ChoiceModel, TransformerConfig
from tfllm.models.task_models import HIDDEN_LOGIT, hidden
from tfllm.tasks.batches import MODEL_INPUTS, Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import check_smoothing, cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task


@keras.saving.register_keras_serializable("tfllm")
class MultipleChoice(Task):
    """Selects one of the choices of an example.

    Args:
        config: TransformerConfig.
        label_smoothing: Share of the target that is spread evenly over the
            choices of an example, in training and in evaluation.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, C, T], one sequence per choice,
            and optionally `padding_mask`, `segment_ids`, `position_ids`
            [B, C, T], and `choice_mask` [B, C], true for choices that an
            example has: the logits of others are lower by `HIDDEN_LOGIT`.
        training: Apply dropout.

    Returns:
        Dict of `multiple_choice`, float32 [B, C]. The labels in y are int32
        [B]; weights are float32 [B].

    Reference: Devlin et al., 2019, section 4.4.
    """

    kind = "multiple_choice"
    objectives = ("multiple_choice",)
    heads = (ChoiceModel.architecture,)
    hub_tag = "multiple-choice"
    feature_names = (*MODEL_INPUTS, "choice_mask")
    text_names = (("text", "choices"),)

    def __init__(
        self,
        config: TransformerConfig,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.label_smoothing = check_smoothing(label_smoothing)
        self.create_model(ChoiceModel)

    @classmethod
    def run_arguments(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the `label_smoothing` of the run."""
        return {"label_smoothing": settings["label_smoothing"]}

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns the logits of the choices, [B, C]."""
        logits = self.model(**model_inputs(inputs), training=training)  # [B, C]
        if "choice_mask" in inputs:
            logits = hidden(logits, inputs["choice_mask"])
        return {"multiple_choice": logits}

    def targets(self) -> dict[str, Target]:
        """Returns the labels: the right choices, int32 [B]."""
        return {"multiple_choice": Target()}

    def tokenize(self, texts: dict[str, Any]) -> Tensors:
        """Tokenizes texts [B] with choices [B, C] to [B, C, T]."""
        choices = tf.convert_to_tensor(texts["choices"])  # [B, C]
        shape = tf.shape(choices)
        pairs = {
            "text": tf.repeat(texts["text"], shape[1]),  # [B * C]
            "choices": tf.reshape(choices, [-1]),  # [B * C]
        }
        return {
            # [B * C, T] -> [B, C, T]
            name: tf.reshape(values, [shape[0], shape[1], -1])
            for name, values in super().tokenize(pairs).items()
        }

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the cross-entropy and of the hits."""
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
    """Returns the loss of a uniform target, less that of the label.

    This is the weighted sum of the logit of the label, less the mean over the
    choices of the example.

    Args:
        labels: int32 [B].
        logits: float32 [B, C].
        weights: float32 [B].
    """
    is_choice = tf.cast(logits > -HIDDEN_LOGIT / 2, tf.float32)  # [B, C]
    sums = tf.reduce_sum(logits * is_choice, axis=1)  # [B]
    means = sums / tf.reduce_sum(is_choice, axis=1)
    chosen = tf.gather(logits, labels, batch_dims=1)  # [B]
    return tf.reduce_sum((chosen - means) * weights)
