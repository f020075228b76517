"""Permutation language modelling: tokens are predicted in a random order."""

from typing import Any

import keras
import tensorflow as tf

from tfllm.models import PermutationModel, TransformerConfig
from tfllm.models.two_stream import factorization_mask
from tfllm.tasks.batches import Sums, Tensors
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task

# Tokens per row in the pretraining of the published models.
_USUAL_LENGTH = 512


@keras.saving.register_keras_serializable("tfllm")
class PermutationLM(Task):
    """Permutation language model, XLNet's pretraining task.

    Args:
        config: TransformerConfig of an encoder with two streams and an
            `output_head`.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `segment_ids`, `padding_mask` [B, T], `masked_positions` [B, P]
            (None: all), and `factorization_order` [B, T]; see
            `factorization_mask`. Without the order, a token sees all others.
        training: Apply dropout.

    Returns:
        Dict of `plm`, float32 [B, P or T, V].

    Reference: Yang et al., 2019, section 2.
    """

    kind = "permutation_lm"
    is_labelled = False
    fills_masks = True
    objectives = ("plm",)
    heads = ("permutation_lm",)
    usual_length = _USUAL_LENGTH
    hub_tag = "fill-mask"
    pipeline = "fill-mask"
    feature_names = (
        "token_ids",
        "padding_mask",
        "segment_ids",
        "masked_positions",
        "factorization_order",
    )
    no_fit_on_texts = (
        "its labels are tokens in a random order. Use `open_permutation_data` "
        "of `tfllm.data.permutation.batches`, which draws a new order in each "
        "epoch."
    )

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.create_model(PermutationModel)

    @classmethod
    def fits(cls, model: TransformerConfig) -> bool:
        """Returns True for encoders with two streams."""
        return model.stack.two_stream is not None

    @classmethod
    def title_of(cls, kind: str) -> str:
        """Returns the usual name of the task."""
        return "permutation language modelling"

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns the logits `plm`, [B, P or T, V]."""
        token_ids = inputs["token_ids"]
        positions = inputs.get("masked_positions")
        if positions is None:
            positions = tf.broadcast_to(
                tf.range(tf.shape(token_ids)[1]), tf.shape(token_ids)
            )  # [B, T]
        order = inputs.get("factorization_order")
        return self.model(
            token_ids,
            padding_mask=inputs.get("padding_mask"),
            segment_ids=inputs.get("segment_ids"),
            masked_positions=positions,
            attention_mask=None if order is None else factorization_mask(order),
            training=training,
        )

    def with_masks(self, inputs: Tensors, mask_id: int) -> Tensors:
        """Returns features by which no token sees a mask."""
        is_mask = tf.equal(inputs["token_ids"], mask_id)
        return {**inputs, "factorization_order": tf.cast(is_mask, tf.int32)}

    def targets(self) -> dict[str, Target]:
        """Returns the labels: `plm` [B, P or T]."""
        return {"plm": Target("BT", size=self.config.vocab_size)}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the cross-entropy and of the hits."""
        return {
            "plm": cross_entropy_sums(
                y["plm"], outputs["plm"], sample_weight["plm"]
            )
        }
