"""Classification and regression of texts and pairs of texts."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from tfllm.models import SequenceModel, TransformerConfig
from tfllm.tasks import label_names
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import check_smoothing, cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task

logger = logging.getLogger(__name__)

Problem = Literal["single_label", "multi_label", "regression"]

# Problem -> `problem_type` in config.json.
PROBLEM_TYPES: dict[Problem, str] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}

# Problem -> kind of task.
_KINDS: dict[Problem, str] = {
    "single_label": "classification",
    "multi_label": "multi_label",
    "regression": "regression",
}

Activation = Literal["identity", "sigmoid"]
# Where versions of sentence-transformers write the activation of a
# cross-encoder: paths in config.json.
_ACTIVATION_KEYS = (
    ("sentence_transformers", "activation_fn"),
    ("sbert_ce_default_activation_function",),
)
_ACTIVATIONS: dict[str, Activation] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.Identity": "identity",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.Sigmoid": "sigmoid",
}


@keras.saving.register_keras_serializable("tfllm")
class Classification(Task):
    """Assigns one label, several labels, or a number to each sequence.

    Args:
        config: TransformerConfig.
        labels: Names of the labels, in the order of their numbers; at most
            one for "regression".
        problem: "single_label" (cross-entropy), "multi_label" (binary
            cross-entropy, the mean over the labels) or "regression" (squared
            error). The objective, the key of y and of the outputs, is
            "classification", "multi_label" or "regression".
        label_smoothing: Share of the target that is spread evenly over all
            labels, in training and in evaluation.
        activation: Activation of the number of "regression": "identity", or
            "sigmoid" for a score from 0 to 1. It comes before the loss and
            the figures. In a folder it is the activation of
            sentence-transformers if config.json has one, else "identity"
            with `problem_type` "regression" and "sigmoid" without a problem
            type.
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

    heads = (SequenceModel.architecture,)
    hub_tag = "text-classification"
    pipeline = "text-classification"
    published_arguments = ("labels", "problem", "activation")

    def __init__(
        self,
        config: TransformerConfig,
        labels: Sequence[str] = (),
        problem: Problem = "single_label",
        label_smoothing: float = 0.0,
        activation: Activation = "identity",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        fitting = get_args(Activation) if problem == "regression" else None
        if activation not in (fitting or ("identity",)):
            raise ValueError(
                "`activation` must be 'identity', or 'sigmoid' for "
                f"'regression'. Received: {activation!r} for {problem!r}"
            )
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
        self.activation = activation
        self.labels = label_names.check_labels(
            labels, minimum=2 if problem == "single_label" else 1
        )
        self.label_smoothing = check_smoothing(label_smoothing)
        self.kind = _KINDS[problem]
        self.objectives = (self.kind,)
        self.create_model(SequenceModel, num_labels=len(self.labels))

    @classmethod
    def arguments_of(cls, kind: str) -> dict[str, Any]:
        """Returns the `problem` of a kind."""
        problems = {name: problem for problem, name in _KINDS.items()}
        return {"problem": problems[kind]}

    @classmethod
    def title_of(cls, kind: str) -> str:
        """Returns the usual name of a kind."""
        return "multi-label classification" if kind == "multi_label" else kind

    @classmethod
    def run_arguments(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the `label_smoothing` of the run."""
        return {"label_smoothing": settings["label_smoothing"]}

    @classmethod
    def published_kind(cls, values: Mapping[str, Any]) -> str:
        """Returns the kind that `problem_type` and the labels mean."""
        return _KINDS[published_problem(values)]

    @property
    def loss_unit(self) -> str:
        """Unit of the loss: squared error for numbers, else nats."""
        is_number = self.problem == "regression"
        return "squared error" if is_number else super().loss_unit

    def measure_of(self, objective: str) -> str:
        """Returns "error", the absolute error, for numbers."""
        return "error" if objective == "regression" else "accuracy"

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns logits, [B, L], or for numbers [B]."""
        logits = self.model(**model_inputs(inputs), training=training)  # [B, L]
        if self.problem == "regression":
            logits = logits[:, 0]  # [B]
        if self.activation == "sigmoid":
            logits = tf.sigmoid(logits)
        return {self.kind: logits}

    def targets(self) -> dict[str, Target]:
        """Returns the labels: [B], or [B, L] for several labels."""
        if self.problem == "regression":
            return {self.kind: Target(is_class=False)}
        size = len(self.labels)
        if self.problem == "multi_label":
            return {self.kind: Target("BL", is_class=False, size=size)}
        return {self.kind: Target(size=size)}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the loss and of hits or errors."""
        labels, weights = y[self.kind], sample_weight[self.kind]
        logits = outputs[self.kind]
        if self.problem == "regression":
            sums = squared_error_sums(labels, logits, weights)
        elif self.problem == "multi_label":
            sums = _binary_sums(labels, logits, weights, self.label_smoothing)
        else:
            sums = cross_entropy_sums(
                labels, logits, weights, self.label_smoothing
            )
        return {self.kind: sums}

    def divergence_sums(
        self, one: Tensors, other: Tensors, sample_weight: Tensors
    ) -> dict[str, tf.Tensor]:
        """Returns the divergence between two outputs of a batch.

        It is the mean over binary labels, and the squared difference of
        numbers.
        """
        if self.problem == "single_label":
            return super().divergence_sums(one, other, sample_weight)
        difference = one[self.kind] - other[self.kind]  # [B, L], or [B]
        if self.problem == "multi_label":
            odds = tf.sigmoid(one[self.kind]) - tf.sigmoid(other[self.kind])
            apart = tf.reduce_mean(0.5 * odds * difference, axis=1)  # [B]
        else:
            apart = tf.square(difference)  # [B]
        return {self.kind: tf.reduce_sum(apart * sample_weight[self.kind])}

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": list(self.labels),
            "problem": self.problem,
            "label_smoothing": self.label_smoothing,
            "activation": self.activation,
        }

    def to_published(self) -> dict[str, Any]:
        """Returns label names, problem type and activation.

        Without the activation sentence-transformers would apply a sigmoid to
        a number; Transformers reads the problem type.
        """
        published = {
            **label_names.to_published(self.labels),
            "problem_type": PROBLEM_TYPES[self.problem],
        }
        if self.problem != "regression":
            return published
        if self.activation == "sigmoid":
            published["problem_type"] = None
        names = {
            activation: name
            for name, activation in reversed(_ACTIVATIONS.items())
        }
        name = names[self.activation]
        return {**published, "sentence_transformers": {"activation_fn": name}}

    @classmethod
    def from_published(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Reads label names, problem type and activation.

        Without a problem type, one label means regression.
        """
        labels = label_names.from_published(values)
        problem = published_problem(values)
        if problem != "regression":
            return {"labels": labels, "problem": problem}
        activation = _published_activation(values)
        return {"labels": labels, "problem": problem, "activation": activation}


def published_problem(values: Mapping[str, Any]) -> Problem:
    """Returns the problem of a config.json.

    Without a problem type, one label means regression.

    Raises:
        ValueError: The type is unknown.
    """
    count = len(label_names.from_published(values))
    default = "regression" if count == 1 else PROBLEM_TYPES["single_label"]
    published = values.get("problem_type") or default
    problems = {name: problem for problem, name in PROBLEM_TYPES.items()}
    if published not in problems:
        raise ValueError(
            f"`problem_type` must be one of {list(problems)}. "
            f"Received: {published!r}. Correct config.json."
        )
    return problems[published]


def _published_activation(values: dict[str, Any]) -> Activation:
    """Returns the activation that a config.json names for regression.

    Raises:
        ValueError: tfllm does not have this activation.
    """
    for keys in _ACTIVATION_KEYS:
        name: Any = values
        for key in keys:
            name = name.get(key) if isinstance(name, dict) else None
        if name is None:
            continue
        if not isinstance(name, str) or name not in _ACTIVATIONS:
            raise ValueError(
                f"`{'.'.join(keys)}` must be one of {list(_ACTIVATIONS)}. "
                f"Received: {name!r}, an activation that tfllm does not have."
            )
        return _ACTIVATIONS[name]
    if values.get("problem_type"):
        return "identity"
    logger.warning(
        "config.json has one label and names neither a `problem_type` nor an "
        "activation: its number goes through a sigmoid, as in Transformers "
        'and sentence-transformers. Write "problem_type": "regression" for '
        "the raw number."
    )
    return "sigmoid"


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
    """Returns the weighted sums of the binary cross-entropy and of the hits.

    Args:
        labels: float32 [B, L] of 0 and 1.
        logits: float32 [B, L].
        weights: float32 [B].
        smoothing: As in Classification.

    Returns:
        Two float32 scalars. Both are means over the labels of a row.
    """
    labels = tf.cast(labels, tf.float32)
    targets = labels * (1.0 - smoothing) + 0.5 * smoothing
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    hits = tf.cast((logits > 0.0) == (labels > 0.5), tf.float32)
    return (
        tf.reduce_sum(tf.reduce_mean(losses, axis=1) * weights),
        tf.reduce_sum(tf.reduce_mean(hits, axis=1) * weights),
    )
