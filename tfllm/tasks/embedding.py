"""Sentence embeddings: vectors of texts, compared by their cosine."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from tfllm.layers.pooling import Pooling, ProjectionConfig
from tfllm.learning.divergence import symmetric_divergence_sum
from tfllm.models import EmbeddingModel, TransformerConfig
from tfllm.models.task_models import fold_rows
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.classification import squared_error_sums
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task

Loss = Literal["contrastive", "similarity"]


@dataclasses.dataclass(frozen=True)
class EmbeddedText:
    """How an embedding model reads and compares texts.

    Attributes:
        max_length: Largest number of tokens per row, special tokens included;
            longer texts are cut. None for the limit of the model.
        prompts: Name -> prefix of a kind of text, such as
            {"query": "query: "}.
        default_prompt: Name of the prompt before every text, or None.
        similarity: Function that compares vectors, as sentence-transformers
            names it. The figures of tfllm use the cosine.
    """

    max_length: int | None = None
    prompts: dict[str, str] = dataclasses.field(default_factory=dict)
    default_prompt: str | None = None
    similarity: Literal["cosine", "dot", "euclidean", "manhattan"] = "cosine"

    def __post_init__(self) -> None:
        """Checks the values."""
        default = self.default_prompt
        if default is not None and default not in self.prompts:
            raise ValueError(
                f"`default_prompt` must be one of {sorted(self.prompts)}. "
                f"Received: {default!r}"
            )

    @property
    def prompt(self) -> str:
        """Prefix of every text."""
        default = self.default_prompt
        return "" if default is None else self.prompts[default]


@keras.saving.register_keras_serializable("tfllm")
class Embedding(Task):
    """Embeds texts as vectors; trained on pairs of texts.

    The loss "contrastive" trains the cosine of an anchor with its positive to
    be the largest among all candidates of the batch. In a batch [B, K, T]
    sequence 0 of a row is the anchor, 1 its positive, and the others are its
    hard negatives. The candidates of each anchor are the B (K - 1) sequences
    of all rows that are not anchors.

    NOTE: negatives come from the micro-batch of one replica. On R replicas
    with A accumulation steps an anchor sees B / (R A) rows, not B. So this
    loss depends on how a batch is split, unlike the others: keep the rows per
    micro-batch, not the batch size, to compare runs.

    The loss "similarity" trains the cosine of sequences 0 and 1 to be the
    number in y.

    Args:
        config: TransformerConfig.
        pooling: Pooling of the token vectors, as in EmbeddingModel.
        projections: Dense layers after the pooling, as in EmbeddingModel.
        truncate_dim: Number of components to keep; None for all.
        normalize: Scale vectors to length one. The losses always use cosines.
        text: EmbeddedText, or its dict.
        loss: "contrastive" or "similarity".
        temperature: Divisor of the cosines, for "contrastive".
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T] or [B, K, T], and optionally
            `padding_mask`, `segment_ids`, `position_ids` of that shape.
        training: Apply dropout.

    Returns:
        Dict of `embedding`, float32 [B, E] or [B, K, E]. y is float32 [B]:
        from -1 to 1 for "similarity", not read for "contrastive". Weights
        are float32 [B].

    Reference: Reimers and Gurevych, 2019, section 3 (similarity); Henderson
    et al., 2017, section 4 (negatives of the batch); Gao et al., 2021,
    section 2.
    """

    kind = "embedding"
    objectives = ("embedding",)
    embeds = True
    hub_tag = "sentence-similarity"
    pipeline = "sentence-embedding"
    # Arguments that the files of sentence-transformers hold.
    published_arguments = (
        "pooling",
        "normalize",
        "projections",
        "truncate_dim",
        "text",
    )

    def __init__(
        self,
        config: TransformerConfig,
        pooling: Pooling | Sequence[Pooling] = "mean",
        normalize: bool = True,
        loss: Loss = "contrastive",
        temperature: float = 0.05,
        projections: Sequence[ProjectionConfig | dict[str, Any]] = (),
        truncate_dim: int | None = None,
        text: EmbeddedText | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
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
        if not isinstance(text, EmbeddedText):
            text = EmbeddedText(**(text or {}))
        # In a function: Keras would track its dict.
        self._embedded_text = lambda: text
        self.usual_length = text.max_length
        self.loss_kind, self.temperature = loss, temperature
        self.create_model(
            EmbeddingModel,
            pooling=pooling,
            projections=projections,
            normalize=normalize,
            truncate_dim=truncate_dim,
        )

    @classmethod
    def title_of(cls, kind: str) -> str:
        """Returns the usual name of the task."""
        return "sentence embedding"

    @classmethod
    def run_arguments(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the arguments; pairs without a label are contrasted."""
        has_gold = bool(settings["label_column"])
        return {
            "pooling": settings["pooling"],
            "text": {"max_length": settings["seq_length"]},
            "temperature": settings["temperature"],
            "loss": "similarity" if has_gold else "contrastive",
        }

    @property
    def loss_unit(self) -> str:
        """Unit of the loss: squared error of cosines, else nats."""
        is_number = self.loss_kind == "similarity"
        return "squared error" if is_number else super().loss_unit

    @property
    def text(self) -> EmbeddedText:
        """How the model reads and compares texts."""
        return self._embedded_text()

    @property
    def prompt(self) -> str:
        """Prefix of every text."""
        return self.text.prompt

    @property
    def pooling(self) -> Pooling | list[Pooling]:
        """Pooling of the token vectors, as in EmbeddingModel."""
        return self.model.pooling

    @property
    def normalize(self) -> bool:
        """Whether vectors have length one, as in EmbeddingModel."""
        return self.model.normalize

    def measure_of(self, objective: str) -> str:
        """Returns "error", the absolute error, for cosines."""
        return "error" if self.loss_kind == "similarity" else "accuracy"

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns vectors, [B, E] or [B, K, E]."""
        features = model_inputs(inputs)
        shape = features["token_ids"].shape
        if len(shape) == 2:
            return {"embedding": self.model(**features, training=training)}
        # [B, K, T] -> [B * K, T]
        folded = {name: fold_rows(value) for name, value in features.items()}
        vectors = self.model(**folded, training=training)  # [B * K, E]
        group = shape[1] or tf.shape(features["token_ids"])[1]
        # [B, K, E]
        vectors = tf.reshape(vectors, [-1, group, self.model.output_size])
        return {"embedding": vectors}

    def targets(self) -> dict[str, Target]:
        """Returns the labels, [B]; "contrastive" reads none."""
        is_read = self.loss_kind == "similarity"
        return {"embedding": Target(is_class=False, is_read=is_read)}

    def tokenize(self, texts: dict[str, Any]) -> Tensors:
        """Tokenizes texts [B] to [B, T], pairs of texts to [B, 2, T]."""
        if len(texts) == 1:
            return super().tokenize(texts)
        # Together, for one length: [2 * B, T] -> [B, 2, T]
        both = super().tokenize({"text": tf.concat(list(texts.values()), 0)})
        return {
            name: tf.stack(tf.split(values, 2), axis=1)
            for name, values in both.items()
        }

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the loss and of hits or errors."""
        weights = sample_weight["embedding"]
        cosines = self._cosines(outputs["embedding"])
        if self.loss_kind == "similarity":
            sums = squared_error_sums(y["embedding"], cosines, weights)
        else:
            rows = tf.shape(cosines)[0]
            # Column of each anchor's positive: [B]
            positives = tf.range(rows) * (tf.shape(cosines)[1] // rows)
            sums = cross_entropy_sums(
                positives, cosines / self.temperature, weights
            )
        return {"embedding": sums}

    def divergence_sums(
        self, one: Tensors, other: Tensors, sample_weight: Tensors
    ) -> dict[str, tf.Tensor]:
        """Returns the divergence between two outputs of a batch.

        It compares the distributions over the candidates, or for
        "similarity" is the squared difference of the cosines.
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
        """Returns the cosines that the loss reads.

        Args:
            vectors: float32 [B, K, E].

        Returns:
            For "similarity" those of the pairs, float32 [B]; for
            "contrastive" those of anchors and candidates, [B, B (K - 1)].
        """
        if len(vectors.shape) != 3:
            raise ValueError(
                "`token_ids` must be [B, K, T] to train on, with anchor and "
                f"positive in each row. Received: vectors {vectors.shape}"
            )
        vectors = tf.math.l2_normalize(vectors, axis=-1, epsilon=1e-24)
        anchors = vectors[:, 0]  # [B, E]
        if self.loss_kind == "similarity":
            return tf.reduce_sum(anchors * vectors[:, 1], axis=-1)  # [B]
        # [B (K - 1), E]
        candidates = tf.reshape(vectors[:, 1:], [-1, self.model.output_size])
        return tf.matmul(anchors, candidates, transpose_b=True)

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            **{
                name: self.model.get_config()[name]
                for name in self.published_arguments
                if name != "text"
            },
            "text": dataclasses.asdict(self.text),
            "loss": self.loss_kind,
            "temperature": self.temperature,
        }
