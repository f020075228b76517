"""A label for every token: entities, parts of speech, roles."""

from collections.abc import Sequence
from typing import Any

import keras

from tfllm.models import TokenModel, TransformerConfig
from tfllm.tasks import label_names
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import check_smoothing, cross_entropy_sums
from tfllm.tasks.task import Task


@keras.saving.register_keras_serializable("tfllm")
class Tagging(Task):
    """A label for every token that has a weight.

    Args:
        config: TransformerConfig.
        labels: Names of the labels, in the order of their numbers.
        label_smoothing: Share of the target that goes to all labels alike,
            in training and in evaluation.
        with_predicates: Whether tags are about a word of the text, its
            predicate, as in semantic roles. The task only keeps it: rows
            have to show that word.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `padding_mask`, `segment_ids`, `position_ids` [B, T].
        training: Apply dropout.

    Returns:
        Dict of `tagging`, float32 [B, T, L]. The labels in y are int32
        [B, T]; weights, float32 [B, T], are 0 where no word begins.

    Reference: Devlin et al., 2019, section 5.3.
    """

    kind = "tagging"
    objectives = ("tagging",)
    # Arguments that config.json has under published keys.
    published_arguments = ("labels",)

    def __init__(
        self,
        config: TransformerConfig,
        labels: Sequence[str],
        label_smoothing: float = 0.0,
        with_predicates: bool = False,
        **kwargs: Any,
    ) -> None:
        """See the class."""
        super().__init__(**kwargs)
        self.config = config
        self.labels = label_names.check_labels(labels, minimum=2)
        self.label_smoothing = check_smoothing(label_smoothing)
        self.with_predicates = with_predicates
        self.model = TokenModel(
            config,
            num_labels=len(self.labels),
            name="model",
            dtype=self.dtype_policy,
        )
        self.model.build()
        self.create_metrics()
        self.built = True

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """See the class."""
        logits = self.model(**model_inputs(inputs), training=training)
        return {"tagging": logits}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """See the base class."""
        return {
            "tagging": cross_entropy_sums(
                y["tagging"],
                outputs["tagging"],
                sample_weight["tagging"],
                self.label_smoothing,
            )
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": list(self.labels),
            "label_smoothing": self.label_smoothing,
            "with_predicates": self.with_predicates,
        }

    def to_published(self) -> dict[str, Any]:
        """See the base class."""
        return label_names.to_published(self.labels)

    @classmethod
    def from_published(cls, values: dict[str, Any]) -> dict[str, Any]:
        """See the base class."""
        return {"labels": label_names.from_published(values)}
