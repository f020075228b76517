"""The contract of a task: its properties, apart from those of a Keras model.

Code that works with tasks, from data to export, asks for these properties. It
does not ask for the class or the name of a task.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfllm.learning.divergence import symmetric_divergence_sum
from tfllm.learning.train_settings import TrainSettings
from tfllm.models import TransformerConfig
from tfllm.tasks.batches import MODEL_INPUTS, Sums, Tensors
from tfllm.tasks.targets import Target
from tfllm.tokenizers.text_tokenizer import Tokenizer


class TaskContract:
    """Properties of a task, with their defaults.

    A kind of task is a subclass of `tfllm.tasks.task.Task` that overrides some
    of them. It sets `kind`, its name in TASKS, `objectives` and `config`, and
    implements `targets` and `objective_sums`.
    """

    kind: str = ""
    objectives: tuple[str, ...] = ()
    config: TransformerConfig
    # Whether its data is records, which may have labels, not running text.
    is_labelled: ClassVar[bool] = True
    # Whether it generates text, or fills masks in texts.
    generates: ClassVar[bool] = False
    fills_masks: ClassVar[bool] = False
    # Whether it embeds texts, as sentence-transformers does.
    embeds: ClassVar[bool] = False
    # Default of the longest row; None for that of the model.
    usual_length: int | None = None
    # Features of x; the first one is required.
    feature_names: ClassVar[tuple[str, ...]] = MODEL_INPUTS
    # Texts in a row that the task reads.
    text_names: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("text",),
        ("text", "text_pair"),
    )
    # Why `fit` does not take texts; empty if it does.
    no_fit_on_texts: ClassVar[str] = ""
    # Arguments of the constructor that config.json has under published keys.
    published_arguments: ClassVar[tuple[str, ...]] = ()
    # Heads of such folders: keys of `Family.architectures`.
    heads: ClassVar[tuple[str, ...]] = ()
    # Tag on the Hugging Face hub, and name in `tfllm.pipeline`, if any.
    hub_tag: ClassVar[str | None] = None
    pipeline: ClassVar[str | None] = None
    # Names of the labels, in the order of their numbers.
    labels: tuple[str, ...] = ()
    # Whether a question may have no answer; and the difference of scores above
    # which it has none, or None if every question has an answer.
    has_null_threshold: ClassVar[bool] = False
    null_threshold: float | None = None
    # Whether rows mark the word that the labels describe.
    with_predicates: bool = False
    # Figures beside losses and measures: ratios of two sums, for which
    # `objective_sums` has entries of these names.
    ratios: ClassVar[tuple[str, ...]] = ()
    # Keras and `compile` set them.
    model: Any
    distribute_strategy: tf.distribute.Strategy
    jit_compile: bool
    run_eagerly: bool
    steps_per_execution: int
    optimizer: keras.optimizers.Optimizer
    trainable_variables: list[keras.Variable]
    non_trainable_variables: list[keras.Variable]
    settings: TrainSettings
    input_wait_seconds: float
    tokens_seen: int
    __call__: Callable[..., Tensors]
    _tokenizer_of: Callable[[], Tokenizer | None]

    @classmethod
    def fits(cls, model: TransformerConfig) -> bool:
        """Returns whether a model can learn this task."""
        return True

    @classmethod
    def arguments_of(cls, kind: str) -> dict[str, Any]:
        """Returns the constructor's arguments for a kind of this class."""
        return {}

    @classmethod
    def title_of(cls, kind: str) -> str:
        """Returns the usual name of a kind of task, for model cards."""
        return kind.replace("_", " ")

    @classmethod
    def run_arguments(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the constructor's arguments from the flags of a run.

        Args:
            settings: Flags of the train verb by name.
        """
        return {}

    @classmethod
    def published_kind(cls, values: Mapping[str, Any]) -> str:
        """Returns the kind of task of a config.json that tfllm did not write.

        Args:
            values: Contents of config.json, of a model with one of `heads`.

        Raises:
            ValueError: The task cannot have the value of a key.
        """
        return cls.kind

    @property
    def companions(self) -> dict[str, Any]:
        """Models that a folder of the task holds in folders of their own.

        Name of the folder -> model with heads. They are trained beside
        `model`, which works without them.
        """
        return {}

    @property
    def data_settings(self) -> dict[str, Any]:
        """Flags that the data of the task must have."""
        return {}

    @property
    def prompt(self) -> str:
        """Prefix of every text."""
        return ""

    @property
    def loss_unit(self) -> str:
        """Unit of the loss."""
        return "nats"

    def with_masks(self, inputs: Tensors, mask_id: int) -> Tensors:
        """Returns the features of texts whose masks are to be filled.

        Args:
            inputs: Features of the texts.
            mask_id: Id of the mask.
        """
        return inputs

    def targets(self) -> dict[str, Target]:
        """Returns the description of each objective's labels."""
        raise NotImplementedError

    def measure_of(self, objective: str) -> str:
        """Returns the name of the second sum of `objective_sums`."""
        return "accuracy"

    def share_of(self, objective: str) -> float:
        """Returns the factor of an objective's mean loss in the total."""
        return 1.0

    def default_weights(
        self, objective: str, x: Tensors, y: tf.Tensor
    ) -> tf.Tensor:
        """Returns the weights of an objective without `sample_weight`.

        Args:
            objective: Name of the objective.
            x: Features.
            y: Labels of the objective.

        Returns:
            float32 of the shape of the losses: [B], or [B, T] with 0 for
            padding.
        """
        shape = tf.shape(y)
        if self.targets()[objective].axes != "BT":
            return tf.ones(shape[:1], tf.float32)
        mask = x.get("padding_mask")
        # Labels of masked positions only are [B, P].
        if mask is None or "masked_positions" in x:
            return tf.ones(shape, tf.float32)
        return tf.cast(mask, tf.float32)

    def row_length(self, asked: int | None = None) -> int:
        """Returns the longest row that the task reads after training.

        Args:
            asked: Length that the user asked for, or that of training; None
                or 0 if neither is known.

        Raises:
            ValueError: The model has a lower limit, or nothing sets a limit.
        """
        limit = self.config.max_length
        if not asked:
            known = [n for n in (self.usual_length, limit) if n is not None]
            if not known:
                raise ValueError(
                    "`seq_length` is needed for a model without a longest "
                    "sequence. Received: 0. Use that of its training."
                )
            return min(known)
        if limit is not None and asked > limit:
            raise ValueError(
                f"`seq_length` must be at most {limit}, the longest sequence "
                f"of the model. Received: {asked}"
            )
        return asked

    def to_published(self) -> dict[str, Any]:
        """Returns the published keys of config.json that the task adds."""
        return {}

    @classmethod
    def from_published(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Returns the constructor's arguments from published keys.

        Args:
            values: Contents of config.json.

        Raises:
            ValueError: The task cannot have the value of a key.
        """
        return {}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of losses and of a measure, by objective.

        Args:
            y: Labels by objective.
            outputs: What `call` returned.
            sample_weight: float32 weights by objective.

        Returns:
            For each objective two float32 scalars: the sum of the weighted
            losses, and that of the measure of `measure_of`, by default hits.
            For each of `ratios` the sums above and below the line.
        """
        raise NotImplementedError

    def divergence_sums(
        self, one: Tensors, other: Tensors, sample_weight: Tensors
    ) -> dict[str, tf.Tensor]:
        """Returns the symmetric divergence between two outputs of a batch.

        Args:
            one: What `call` returned; logits of classes.
            other: What `call` returned with other dropout.
            sample_weight: float32 weights by objective.

        Returns:
            For each objective a weighted sum, a float32 scalar.
        """
        return {
            name: symmetric_divergence_sum(
                one[name], other[name], sample_weight[name]
            )
            for name in self.objectives
        }

    def read_texts(
        self, texts: dict[str, Any], y: Any, sample_weight: Any
    ) -> tuple[Tensors, Any, Any]:
        """Converts a batch of texts for training or evaluation.

        Args:
            texts: Texts of the rows by name, each string [B].
            y: Labels as `fit` takes them, or None.
            sample_weight: Weights as `fit` takes them, or None.

        Returns:
            Features, y and sample_weight.

        Raises:
            ValueError: The task has no tokenizer, does not read these texts,
                or does not learn from texts.
        """
        if y is not None and self.no_fit_on_texts:
            raise ValueError(
                f"`fit` of {self.kind} takes no texts: {self.no_fit_on_texts}"
            )
        return self.tokenize(texts), y, sample_weight

    def tokenize(self, texts: dict[str, Any]) -> Tensors:
        """Tokenizes texts, cut to the longest row.

        Args:
            texts: Texts of the rows by name, each string [B].

        Returns:
            Features by name, int32 [B, T].

        Raises:
            ValueError: The task has no tokenizer, or does not read these
                texts.
        """
        tokenizer = self.tokenizer_for(texts)
        return tokenizer(*texts.values(), max_length=self.row_length())

    def tokenizer_for(self, texts: dict[str, Any]) -> Tokenizer:
        """Returns the tokenizer of the task.

        Args:
            texts: Texts of the rows by name.

        Raises:
            ValueError: The task has no tokenizer, or does not read these
                texts.
        """
        if tuple(texts) not in self.text_names:
            raise ValueError(
                f"texts for {self.kind} must be one of "
                f"{[list(names) for names in self.text_names]}. "
                f"Received: {list(texts)}"
            )
        if self.tokenizer is None:
            raise ValueError(
                "texts need a tokenizer. Received: a task without one. Load "
                "the task with `tfllm.load`, or set `task.tokenizer`."
            )
        return self.tokenizer

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Tokenizer that reads texts; None if the task does not take texts."""
        return self._tokenizer_of()

    @tokenizer.setter
    def tokenizer(self, tokenizer: Tokenizer | None) -> None:
        if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
            raise ValueError(
                "`tokenizer` must be one of tfllm, as "
                "`tfllm.tokenizers.load_tokenizer` reads it. "
                f"Received: {type(tokenizer).__name__}"
            )
        size = self.config.vocab_size
        if tokenizer is not None and tokenizer.vocab_size > size:
            raise ValueError(
                "`tokenizer` must have at most as many tokens as the model, "
                f"{size}. Received: {tokenizer.vocab_size}"
            )
        self._tokenizer_of = lambda: tokenizer
