"""Labels and numbers for whole texts and pairs of texts."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from tfllm.models import SequenceModel, TransformerConfig
from tfllm.tasks import label_names
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import check_smoothing, cross_entropy_sums
from tfllm.tasks.task import Task

Problem = Literal["single_label", "multi_label", "regression"]

# Ours -> `problem_type` of config.json.
PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


@keras.saving.register_keras_serializable("tfllm")
class Classification(Task):
    """One label, several labels, or a number for every sequence.

    Args:
        config: TransformerConfig.
        labels: Names of the labels, in the order of their numbers; for
            "regression" one, which may be left out.
        problem: "single_label" (cross-entropy), "multi_label" (binary
            cross-entropy, the mean over the labels) or "regression" (squared
            error). The objective, the key of y and of the outputs, is
            "classification", "multi_label" or "regression".
        label_smoothing: Share of the target that goes to all labels alike,
            in training and in evaluation.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `padding_mask`, `segment_ids`, `position_ids` [B, T].
        training: Apply dropout.

    Returns:
        Dict of `classification` or `multi_label`, float32 [B, L], or of
        `regression`, float32 [B]. The labels in y are int32 [B], float32
        [B, L] of 0 and 1, and float32 [B]; weights are float32 [B].

    Reference: Devlin et al., 2019, section 4.1; Szegedy et al., 2016,
    section 7 (label smoothing).
    """

    # Arguments that config.json has under published keys.
    published_arguments = ("labels", "problem")

    def __init__(
        self,
        config: TransformerConfig,
        labels: Sequence[str] = (),
        problem: Problem = "single_label",
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """See the class."""
        super().__init__(**kwargs)
        if problem not in PROBLEM_TYPES:
            raise ValueError(
                f"`problem` must be one of {list(PROBLEM_TYPES)}. "
                f"Received: {problem!r}"
            )
        if problem == "regression":
            labels = labels or ("LABEL_0",)
            if len(labels) != 1 or label_smoothing:
                raise ValueError(
                    "`problem` 'regression' has one label and no "
                    f"`label_smoothing`. Received: {list(labels)} and "
                    f"{label_smoothing}"
                )
        self.config = config
        self.problem = problem
        self.labels = label_names.check_labels(
            labels, minimum=2 if problem == "single_label" else 1
        )
        self.label_smoothing = check_smoothing(label_smoothing)
        self.kind = "classification" if problem == "single_label" else problem
        self.objectives = (self.kind,)
        self.model = SequenceModel(
            config,
            num_labels=len(self.labels),
            name="model",
            dtype=self.dtype_policy,
        )
        self.model.build()
        self.create_metrics()
        self.built = True

    def measure_of(self, objective: str) -> str:
        """See the base class: that of a number is its absolute error."""
        return "error" if objective == "regression" else "accuracy"

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """See the class."""
        logits = self.model(**model_inputs(inputs), training=training)
        if self.problem == "regression":
            logits = logits[:, 0]
        return {self.kind: logits}

    def default_weights(self, objective: str, y: tf.Tensor) -> tf.Tensor:
        """See the base class: one for each sequence."""
        return tf.ones(tf.shape(y)[:1], tf.float32)

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """See the base class."""
        labels, weights = y[self.kind], sample_weight[self.kind]
        outputs_of = outputs[self.kind]
        if self.problem == "regression":
            sums = squared_error_sums(labels, outputs_of, weights)
        elif self.problem == "multi_label":
            sums = _binary_sums(
                labels, outputs_of, weights, self.label_smoothing
            )
        else:
            sums = cross_entropy_sums(
                labels, outputs_of, weights, self.label_smoothing
            )
        return {self.kind: sums}

    def divergence_sums(
        self, one: Tensors, other: Tensors, sample_weight: Tensors
    ) -> dict[str, tf.Tensor]:
        """See the base class.

        For labels that are told one by one it is the mean over them, for
        numbers their squared difference.
        """
        if self.problem == "single_label":
            return super().divergence_sums(one, other, sample_weight)
        apart = one[self.kind] - other[self.kind]
        if self.problem == "multi_label":
            odds = tf.sigmoid(one[self.kind]) - tf.sigmoid(other[self.kind])
            each = tf.reduce_mean(0.5 * odds * apart, axis=1)
        else:
            each = tf.square(apart)
        return {self.kind: tf.reduce_sum(each * sample_weight[self.kind])}

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": list(self.labels),
            "problem": self.problem,
            "label_smoothing": self.label_smoothing,
        }

    def to_published(self) -> dict[str, Any]:
        """See the base class."""
        return {
            **label_names.to_published(self.labels),
            "problem_type": PROBLEM_TYPES[self.problem],
        }

    @classmethod
    def from_published(cls, values: dict[str, Any]) -> dict[str, Any]:
        """See the base class: without a problem type, by the labels."""
        labels = label_names.from_published(values)
        default = (
            "regression" if len(labels) == 1 else PROBLEM_TYPES["single_label"]
        )
        published = values.get("problem_type") or default
        problems = {theirs: ours for ours, theirs in PROBLEM_TYPES.items()}
        if published not in problems:
            raise ValueError(
                f"`problem_type` must be one of {list(problems)}. "
                f"Received: {published!r}. Correct config.json."
            )
        return {"labels": labels, "problem": problems[published]}


def squared_error_sums(
    targets: tf.Tensor, values: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the weighted sums of the squared and the absolute errors."""
    errors = values - tf.cast(targets, tf.float32)
    return (
        tf.reduce_sum(tf.square(errors) * weights),
        tf.reduce_sum(tf.abs(tf.stop_gradient(errors)) * weights),
    )


def _binary_sums(
    labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor, smoothing: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the weighted sums of the mean over the labels.

    Args:
        labels: float32 [B, L] of 0 and 1.
        logits: float32 [B, L].
        weights: float32 [B].
        smoothing: See Classification.

    Returns:
        Binary cross-entropy, and share of the labels on the right side.
    """
    labels = tf.cast(labels, tf.float32)
    targets = labels * (1.0 - smoothing) + 0.5 * smoothing
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    hits = tf.cast((logits > 0.0) == (labels > 0.5), tf.float32)
    return (
        tf.reduce_sum(tf.reduce_mean(losses, axis=1) * weights),
        tf.reduce_sum(tf.reduce_mean(hits, axis=1) * weights),
    )
