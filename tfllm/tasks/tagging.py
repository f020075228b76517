"""Token classification: entities, parts of speech, semantic roles."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfllm.models import TokenModel, TransformerConfig
from tfllm.tasks import label_names
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import check_smoothing, cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task


@keras.saving.register_keras_serializable("tfllm")
class Tagging(Task):
    """Assigns a label to each token that has a weight.

    Args:
        config: TransformerConfig.
        labels: Names of the labels, in the order of their numbers.
        label_smoothing: Share of the target that is spread evenly over all
            labels, in training and in evaluation.
        with_predicates: Whether the tags describe a word of the text, its
            predicate, as semantic roles do. The rows must mark this word; the
            model does not read the argument.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `padding_mask`, `segment_ids`, `position_ids` [B, T].
        training: Apply dropout.

    Returns:
        Dict of `tagging`, float32 [B, T, L]. The labels in y are int32
        [B, T]. Weights, float32 [B, T], are 0 where no word begins.

    Reference: Devlin et al., 2019, section 5.3.
    """

    kind = "tagging"
    objectives = ("tagging",)
    heads = (TokenModel.architecture,)
    hub_tag = "token-classification"
    pipeline = "token-classification"
    no_fit_on_texts = (
        "tags go with words. Use `tfllm.data.labelled.batches`, which reads "
        "files of words and tags, or the train verb."
    )
    published_arguments = ("labels",)

    def __init__(
        self,
        config: TransformerConfig,
        labels: Sequence[str],
        label_smoothing: float = 0.0,
        with_predicates: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.labels = label_names.check_labels(labels, minimum=2)
        self.label_smoothing = check_smoothing(label_smoothing)
        self.with_predicates = with_predicates
        self.create_model(TokenModel, num_labels=len(self.labels))

    @classmethod
    def run_arguments(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `label_smoothing` and `with_predicates` of the run."""
        return {
            "label_smoothing": settings["label_smoothing"],
            "with_predicates": bool(settings["predicate_column"]),
        }

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns the logits of the tags, [B, T, L]."""
        logits = self.model(**model_inputs(inputs), training=training)
        return {"tagging": logits}

    def targets(self) -> dict[str, Target]:
        """Returns the labels: tags, int32 [B, T]."""
        return {"tagging": Target("BT", size=len(self.labels))}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the cross-entropy and of the hits."""
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
        """Returns the keys of config.json with the label names."""
        return label_names.to_published(self.labels)

    @classmethod
    def from_published(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Returns the label names of a config.json."""
        return {"labels": label_names.from_published(values)}
