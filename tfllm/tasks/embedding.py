"""Sentence embeddings: vectors whose angles say what texts share."""

from typing import Any, Literal

import keras
import tensorflow as tf

from tfllm.models import EmbeddingModel, TransformerConfig
from tfllm.models.task_models import Pooling, fold_rows
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.classification import squared_error_sums
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.divergence import symmetric_divergence_sum
from tfllm.tasks.task import Task

Loss = Literal["contrastive", "similarity"]


@keras.saving.register_keras_serializable("tfllm")
class Embedding(Task):
    """Vectors of texts, trained on pairs.

    "contrastive": among all candidates of the batch, an anchor's own
    positive must have the largest cosine. With a batch [B, K, T] sequence 0
    of a row is the anchor, 1 its positive, 2 and on its hard negatives; the
    candidates of every anchor are the B (K - 1) sequences 1 and on of all
    rows.

    NOTE: the batch of negatives is what one device computes at a time: the
    micro-batch of one replica. On R replicas with A accumulation steps an
    anchor sees B / (R A) rows and not B. Unlike the other objectives this
    one depends on how a batch is split: hold the rows per micro-batch, not
    the batch size, when you compare runs.

    "similarity": the cosine of sequences 0 and 1 must be the number in y.

    Args:
        config: TransformerConfig.
        pooling: "mean", "cls" or "last"; see EmbeddingModel.
        normalize: Give vectors of length one; the losses always see cosines.
        loss: "contrastive" or "similarity".
        temperature: Cosines are divided by it, for "contrastive".
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T] or [B, K, T], and optionally
            `padding_mask`, `segment_ids`, `position_ids` of that shape.
        training: Apply dropout.

    Returns:
        Dict of `embedding`, float32 [B, D] or [B, K, D]. y is float32 [B],
        in [-1, 1], for "similarity" and of shape [B] and not read for
        "contrastive"; weights are float32 [B].

    Reference: Reimers and Gurevych, 2019, section 3 (similarity); Henderson
    et al., 2017, section 4 (negatives of the batch); Gao et al., 2021,
    section 2.
    """

    kind = "embedding"
    objectives = ("embedding",)

    def __init__(
        self,
        config: TransformerConfig,
        pooling: Pooling = "mean",
        normalize: bool = True,
        loss: Loss = "contrastive",
        temperature: float = 0.05,
        **kwargs: Any,
    ) -> None:
        """See the class."""
        super().__init__(**kwargs)
        if loss not in ("contrastive", "similarity"):
            raise ValueError(
                "`loss` must be 'contrastive' or 'similarity'. "
                f"Received: {loss!r}"
            )
        if temperature <= 0.0:
            raise ValueError(
                f"`temperature` must be above 0. Received: {temperature}"
            )
        self.config = config
        self.pooling, self.normalize = pooling, normalize
        self.loss_kind, self.temperature = loss, temperature
        self.model = EmbeddingModel(
            config,
            pooling=pooling,
            normalize=normalize,
            name="model",
            dtype=self.dtype_policy,
        )
        self.model.build()
        self.create_metrics()
        self.built = True

    def measure_of(self, objective: str) -> str:
        """See the base class: that of a cosine is its absolute error."""
        return "error" if self.loss_kind == "similarity" else "accuracy"

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """See the class."""
        found = model_inputs(inputs)
        shape = found["token_ids"].shape
        if len(shape) == 2:
            return {"embedding": self.model(**found, training=training)}
        folded = {name: fold_rows(value) for name, value in found.items()}
        vectors = self.model(**folded, training=training)
        group = shape[1] or tf.shape(found["token_ids"])[1]
        vectors = tf.reshape(vectors, [-1, group, self.config.hidden_size])
        return {"embedding": vectors}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """See the base class."""
        weights = sample_weight["embedding"]
        cosines = self._cosines(outputs["embedding"])
        if self.loss_kind == "similarity":
            sums = squared_error_sums(y["embedding"], cosines, weights)
        else:
            rows = tf.shape(cosines)[0]
            own = tf.range(rows) * (tf.shape(cosines)[1] // rows)
            sums = cross_entropy_sums(own, cosines / self.temperature, weights)
        return {"embedding": sums}

    def divergence_sums(
        self, one: Tensors, other: Tensors, sample_weight: Tensors
    ) -> dict[str, tf.Tensor]:
        """See the base class.

        It is that of the distributions over the candidates, or the squared
        difference of the cosines.
        """
        weights = sample_weight["embedding"]
        first, second = (self._cosines(x["embedding"]) for x in (one, other))
        if self.loss_kind == "similarity":
            apart = tf.reduce_sum(tf.square(first - second) * weights)
        else:
            scale = self.temperature
            apart = symmetric_divergence_sum(
                first / scale, second / scale, weights
            )
        return {"embedding": apart}

    def _cosines(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns what is trained, for vectors float32 [B, K, D].

        Returns:
            float32 [B], of the pairs, for "similarity"; [B, B (K - 1)], of
            anchors and candidates, for "contrastive".
        """
        if len(vectors.shape) != 3:
            raise ValueError(
                "`token_ids` must be [B, K, T] to train on, with anchor and "
                f"positive in each row. Received: vectors {vectors.shape}"
            )
        vectors = tf.math.l2_normalize(vectors, axis=-1, epsilon=1e-24)
        anchors = vectors[:, 0]
        if self.loss_kind == "similarity":
            return tf.reduce_sum(anchors * vectors[:, 1], axis=-1)
        candidates = tf.reshape(vectors[:, 1:], [-1, self.config.hidden_size])
        return tf.matmul(anchors, candidates, transpose_b=True)

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "normalize": self.normalize,
            "loss": self.loss_kind,
            "temperature": self.temperature,
        }
