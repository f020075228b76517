"""Replaced-token detection: a discriminator, trained beside a generator."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfllm.learning.divergence import symmetric_divergence_sum
from tfllm.models import DetectionModel, PretrainingModel, TransformerConfig
from tfllm.models.generator import generator_config
from tfllm.tasks.batches import MODEL_INPUTS, Sums, Tensors, model_inputs
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task

# Choices are integers below it.
_CHOICES = 2**24


@keras.saving.register_keras_serializable("tfllm")
class ReplacedTokenDetection(Task):
    """Detection of tokens that a generator has put in place of others.

    The generator, a small masked language model with the same embeddings,
    draws a token for each mask. The model learns which tokens are not those
    of the text; its gradient does not reach the generator's choice.

    Args:
        config: TransformerConfig with a `detection_head` and a
            `masked_lm_head`.
        generator_size: Heads of the generator as a share of the model's; see
            `generator_config`.
        detection_weight: Factor of the loss of the detection.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `segment_ids`, `padding_mask` [B, T]. To train, also
            `masked_positions` [B, P] and `choices` [B, T]: at masks uniform
            numbers from 0 to 2 ** 24 - 1, elsewhere -1.
        training: Apply dropout.

    Returns:
        Dict of `rtd`, float32 [B, T], logits of a token to be a replaced one.
        With masks also `mlm`, float32 [B, P, V], the generator's logits, and
        `token_ids`, int32 [B, T], the tokens that the model has read.

    NOTE: a token is drawn with one random number, which is where its
    cumulative probability passes it, and not with one for each token as in
    the published code (Gumbel). The distribution is the same. The numbers
    come with the batch: a step is a function of its batch, however it is
    split.

    Reference: Clark et al., 2020, section 3.
    """

    kind = "replaced_token_detection"
    objectives = ("mlm", "rtd")
    is_labelled = False
    heads = ("replaced_token_detection",)
    ratios = ("replaced_precision", "replaced_recall")
    feature_names = (*MODEL_INPUTS, "masked_positions", "choices")
    no_fit_on_texts = (
        "its labels are the tokens before masking. Use `tfllm.data.open`, "
        "which masks anew in each epoch."
    )

    def __init__(
        self,
        config: TransformerConfig,
        generator_size: float = 0.25,
        detection_weight: float = 50.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not detection_weight > 0.0:
            raise ValueError(
                "`detection_weight` must be positive. "
                f"Received: {detection_weight}"
            )
        self.config = config
        self.generator_size = generator_size
        self.detection_weight = detection_weight
        self.model = DetectionModel(
            config, name="model", dtype=self.dtype_policy
        )
        self.model.build()
        self.generator = PretrainingModel(
            generator_config(config, generator_size),
            num_sequence_labels=0,
            name="generator",
            dtype=self.dtype_policy,
        )
        self.generator.transformer.embeddings.share_tables(
            self.model.transformer.embeddings
        )
        self.generator.build()
        self.create_metrics()
        self.built = True

    @classmethod
    def fits(cls, model: TransformerConfig) -> bool:
        """Returns whether the model has a head that detects tokens."""
        return model.detection_head is not None

    @classmethod
    def run_arguments(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the `generator_size` of the run."""
        return {"generator_size": settings["generator_size"]}

    @property
    def companions(self) -> dict[str, Any]:
        """The generator."""
        return {"generator": self.generator}

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns `rtd`, [B, T]; with masks also `mlm` and `token_ids`."""
        if "masked_positions" not in inputs:
            logits = self.model(**model_inputs(inputs), training=training)
            return {"rtd": logits}
        positions = inputs["masked_positions"]  # [B, P]
        mlm = self.generator(
            inputs["token_ids"],
            padding_mask=inputs.get("padding_mask"),
            segment_ids=inputs.get("segment_ids"),
            masked_positions=positions,
            training=training,
        )["mlm"]  # [B, P, V]
        choices = inputs["choices"]  # [B, T]
        drawn = draw_tokens(
            tf.stop_gradient(mlm), tf.gather(choices, positions, batch_dims=1)
        )  # [B, P]
        token_ids = tf.where(
            choices < 0, inputs["token_ids"], _spread(drawn, positions, choices)
        )
        logits = self.model(
            **{**model_inputs(inputs), "token_ids": token_ids},
            training=training,
        )
        return {"mlm": mlm, "rtd": logits, "token_ids": token_ids}

    def targets(self) -> dict[str, Target]:
        """Returns the labels: tokens, `mlm` [B, P] and `rtd` [B, T]."""
        size = self.config.vocab_size
        return {name: Target("BT", size=size) for name in self.objectives}

    def default_weights(
        self, objective: str, x: Tensors, y: tf.Tensor
    ) -> tf.Tensor:
        """Returns 1 for each mask, and for each real token."""
        if objective == "rtd" and "padding_mask" in x:
            return tf.cast(x["padding_mask"], tf.float32)
        return tf.ones(tf.shape(y), tf.float32)

    def share_of(self, objective: str) -> float:
        """Returns `detection_weight` for the detection, else 1."""
        return self.detection_weight if objective == "rtd" else 1.0

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of losses and hits, and of found replacements."""
        if "mlm" not in outputs:
            raise ValueError(
                "x must have `masked_positions` and `choices` for a loss. "
                "Received: neither. Use `tfllm.data.open`."
            )
        logits, weights = outputs["rtd"], sample_weight["rtd"]  # [B, T]
        replaced = tf.cast(outputs["token_ids"] != y["rtd"], tf.float32)
        detected = tf.cast(logits > 0.0, tf.float32)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(replaced, logits)
        hits = tf.cast(replaced == detected, tf.float32)
        found = tf.reduce_sum(replaced * detected * weights)
        return {
            "mlm": cross_entropy_sums(
                y["mlm"], outputs["mlm"], sample_weight["mlm"]
            ),
            "rtd": (
                tf.reduce_sum(losses * weights),
                tf.reduce_sum(hits * weights),
            ),
            "replaced_precision": (found, tf.reduce_sum(detected * weights)),
            "replaced_recall": (found, tf.reduce_sum(replaced * weights)),
        }

    def divergence_sums(
        self, one: Tensors, other: Tensors, sample_weight: Tensors
    ) -> dict[str, tf.Tensor]:
        """Returns the divergences; a detection has two classes."""

        def classes(outputs: Tensors) -> Tensors:
            logits = outputs["rtd"]
            two = tf.stack([tf.zeros_like(logits), logits], -1)  # [B, T, 2]
            return {"mlm": outputs["mlm"], "rtd": two}

        first, second = classes(one), classes(other)
        return {
            name: symmetric_divergence_sum(
                first[name], second[name], sample_weight[name]
            )
            for name in self.objectives
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "generator_size": self.generator_size,
            "detection_weight": self.detection_weight,
        }


def draw_tokens(logits: tf.Tensor, choices: tf.Tensor) -> tf.Tensor:
    """Draws tokens from the distributions of logits.

    Args:
        logits: float32 [..., V].
        choices: int32 [...], uniform from 0 to 2 ** 24 - 1.

    Returns:
        int32 [...].
    """
    cumulative = tf.cumsum(tf.nn.softmax(logits), axis=-1)  # [..., V]
    uniform = tf.cast(choices, tf.float32)[..., tf.newaxis] / _CHOICES
    passed = cumulative <= uniform * cumulative[..., -1:]  # [..., V]
    drawn = tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1)
    return tf.minimum(drawn, tf.shape(logits)[-1] - 1)


def _spread(
    values: tf.Tensor, positions: tf.Tensor, choices: tf.Tensor
) -> tf.Tensor:
    """Puts the values of slots at their positions in the row.

    Args:
        values: int32 [B, P].
        positions: int32 [B, P]; 0 in slots behind the used ones.
        choices: int32 [B, T], not negative at the positions of used slots.

    Returns:
        int32 [B, T], 0 elsewhere.
    """
    columns = tf.range(tf.shape(choices)[1])
    slots = tf.range(tf.shape(positions)[1])
    # Positions ascend: only the first slot can be used at position 0.
    is_used = (positions > 0) | (slots == 0)  # [B, P]
    here = (positions[..., tf.newaxis] == columns) & is_used[..., tf.newaxis]
    return tf.reduce_sum(
        tf.where(here, values[..., tf.newaxis], 0), axis=1
    )  # [B, P, T] -> [B, T]
