"""Models for labelled tasks: sequences, tokens, spans, choices, vectors.

Each is a transformer with one head. It takes token ids and a mask of the real
ones, padded on either side. `TransformerConfig.task_head` and `.pooler` say
what the heads of a family look like.
"""

from collections.abc import Sequence
from typing import Any

from keras import ops

from tfllm.layers.activations import ACTIVATIONS
from tfllm.layers.dropout import Dropout
from tfllm.layers.fields import to_dict
from tfllm.layers.heads import Pooler
from tfllm.layers.linear import Linear
from tfllm.layers.pooling import (
    POOLINGS,
    Pooling,
    Projection,
    ProjectionConfig,
    last_token,
    unit_length,
)
from tfllm.models.base import TransformerModel
from tfllm.models.config import TransformerConfig

# The first four call arguments of a TaskModel, by name.
Tokens = dict[str, Any]

# Subtracted from logits that must not be chosen. Finite, so that the loss is.
HIDDEN_LOGIT = 1e9


def hidden(logits: Any, mask: Any) -> Any:
    """Returns logits, lower by `HIDDEN_LOGIT` where the int32 mask is 0."""
    return logits - (1.0 - ops.cast(mask, "float32")) * HIDDEN_LOGIT


class TaskModel(TransformerModel):
    """A transformer with one head: the base class of the models below.

    A subclass adds its head in the constructor and implements `outputs`.

    Args:
        config: TransformerConfig.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T] or None.
        segment_ids: int32 [B, T] or None.
        position_ids: int32 [B, T] or None; see Transformer.
        training: Apply dropout.
    """

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        training: bool = False,
    ) -> Any:
        """Returns the output of the head; see each class for its shape."""
        tokens: Tokens = {
            "token_ids": token_ids,
            "padding_mask": padding_mask,
            "segment_ids": segment_ids,
            "position_ids": position_ids,
        }
        return self.outputs(tokens, training)

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Computes the output of `call`.

        Args:
            tokens: The first four arguments of `call`, by name.
            training: Apply dropout.
        """
        raise NotImplementedError

    def _hidden_states(
        self, tokens: Tokens, training: bool, first_only: bool = False
    ) -> Any:
        """Returns float [B, 1 or T, D].

        Args:
            tokens: The first four arguments of `call`, by name.
            training: Apply dropout.
            first_only: Compute the last block for the first tokens alone.
        """
        if self.config.kind == "encoder_decoder":
            return self._decoder_states(tokens, training)
        positions = None
        if first_only:
            positions = ops.zeros_like(
                tokens["token_ids"][:, :1], dtype="int32"
            )
        return self.transformer(
            **tokens, output_positions=positions, training=training
        )

    def _decoder_states(self, tokens: Tokens, training: bool) -> Any:
        """Returns float [B, T, D]: both stacks read the tokens.

        The decoder reads `decoder_start_token_id` and all but the last token
        (Lewis et al., 2020, section 3.1).
        """
        token_ids = tokens["token_ids"]
        start = self.config.decoder_start_token_id
        first = ops.full_like(token_ids[:, :1], start)
        shifted = ops.concatenate([first, token_ids[:, :-1]], axis=1)  # [B, T]
        return self.transformer(
            shifted,
            source_ids=token_ids,
            source_mask=tokens["padding_mask"],
            training=training,
        )

    def _sequence_vectors(
        self, tokens: Tokens, pooler: Pooler | None, training: bool
    ) -> Any:
        """Returns the pooler's vector, or that of the last token, [B, D]."""
        if pooler is not None and pooler.config.token == "first":
            return pooler(self._hidden_states(tokens, training, True))
        x = self._hidden_states(tokens, training)  # [B, T, D]
        if pooler is not None:
            return pooler(x, tokens["padding_mask"])
        return last_token(x, tokens["padding_mask"])

    def _create_dropout(self, rate: float) -> Dropout:
        """Returns the dropout before a head."""
        return Dropout(rate, name="dropout", dtype=self.dtype_policy)

    def _create_classifier(
        self, num_outputs: int, name: str, use_bias: bool = True
    ) -> Linear:
        """Returns the last layer of a head, in float32 under any policy."""
        return Linear(
            self.config.output_size,
            num_outputs,
            use_bias=use_bias,
            initializer_range=self.config.task_head.initializer_range,
            name=name,
            dtype="float32",
        )


class SequenceModel(TaskModel):
    """Logits of labels for a whole sequence.

    Args:
        config: TransformerConfig. The head reads the first token (of an
            encoder-decoder the last real one) through a dense layer if there
            is a `TaskHeadConfig.sequence_dense`, or through the `pooler` if
            there is one; else the last real token.
        num_labels: Number of logits, L.

    Call args: Those of TaskModel.

    Returns:
        float32 [B, L].

    Reference: Devlin et al., 2019, section 4.1; Radford et al., 2018,
    section 3.2 (last token).
    """

    architecture = "sequence_classification"

    def __init__(
        self, config: TransformerConfig, num_labels: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        head = config.task_head
        self.pooler = self.sequence_dense = None
        if head.sequence_dense:
            self.sequence_dense = Linear(
                config.output_size,
                config.output_size,
                initializer_range=head.initializer_range,
                name="sequence_dense",
                dtype=self.dtype_policy,
            )
        else:
            self.pooler = self._create_pooler()
        self.dropout = self._create_dropout(
            head.dropout if head.drop_sequence else 0.0
        )
        self.sequence_classifier = self._create_classifier(
            num_labels, "sequence_classifier", head.sequence_bias
        )

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Returns the logits, float32 [B, L]."""
        if self.sequence_dense is None:
            x = self._sequence_vectors(tokens, self.pooler, training)  # [B, D]
        else:
            x = self._hidden_states(tokens, training, True)
            x = (
                x[:, 0]
                if self.config.decoder is None
                else last_token(x, tokens["padding_mask"])
            )  # [B, D]
            x = self.sequence_dense(self.dropout(x, training=training))
            activate = ACTIVATIONS[self.config.task_head.sequence_dense]
            x = activate(x, training=training)
        x = self.dropout(x, training=training)
        return self.sequence_classifier(ops.cast(x, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, ready for JSON."""
        return {**super().get_config(), "num_labels": self.num_labels}


class TokenModel(TaskModel):
    """Logits of labels for every token.

    Args:
        config: TransformerConfig; of an encoder-decoder, only the encoder
            counts.
        num_labels: Number of logits, L.

    Call args: Those of TaskModel.

    Returns:
        float32 [B, T, L].

    Reference: Devlin et al., 2019, section 5.3.
    """

    architecture = "token_classification"
    leaves_out = ("pooler.",)

    def __init__(
        self, config: TransformerConfig, num_labels: int = 2, **kwargs: Any
    ) -> None:
        if config.kind == "encoder_decoder":
            config = config.only("encoder")
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        head = config.task_head
        self.dropout = self._create_dropout(
            head.dropout if head.token_dropout is None else head.token_dropout
        )
        self.token_classifier = self._create_classifier(
            num_labels, "token_classifier"
        )

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Computes the logits of each token, float32 [B, T, L]."""
        x = self._hidden_states(tokens, training)  # [B, T, D]
        x = self.dropout(x, training=training)
        return self.token_classifier(ops.cast(x, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, ready for JSON."""
        return {**super().get_config(), "num_labels": self.num_labels}


class SpanModel(TaskModel):
    """Logits for every token to be the first, and the last, of a span.

    Args:
        config: TransformerConfig.

    Call args: Those of TaskModel, and
        answer_mask: int32 [B, T], true where a span may start or end, or
            None. Other logits are lower by `HIDDEN_LOGIT`.

    Returns:
        Dict of `start` and `end`, float32 [B, T].

    Reference: Devlin et al., 2019, section 4.2.
    """

    architecture = "question_answering"
    leaves_out = ("pooler.",)

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.dropout = self._create_dropout(config.task_head.span_dropout)
        self.span_classifier = self._create_classifier(2, "span_classifier")

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        training: bool = False,
        answer_mask: Any = None,
    ) -> dict[str, Any]:
        """Returns the logits of first and last tokens, float32 [B, T] each."""
        logits = super().call(
            token_ids, padding_mask, segment_ids, position_ids, training
        )  # [B, T, 2]
        if answer_mask is not None:
            logits = hidden(logits, ops.expand_dims(answer_mask, 2))
        return {"start": logits[..., 0], "end": logits[..., 1]}

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Returns float32 [B, T, 2], before the mask."""
        x = self._hidden_states(tokens, training)  # [B, T, D]
        x = self.dropout(x, training=training)
        return self.span_classifier(ops.cast(x, "float32"))


class ChoiceModel(TaskModel):
    """One logit for each of the choices of an example.

    Args:
        config: TransformerConfig; see SequenceModel.

    Call args: Those of TaskModel, but [B, C, T]: one sequence per choice.

    Returns:
        float32 [B, C].

    Reference: Devlin et al., 2019, section 4.4; Radford et al., 2018,
    section 3.3.
    """

    architecture = "multiple_choice"

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.pooler = self._create_pooler()
        rate = config.task_head.choice_dropout
        self.dropout = self._create_dropout(
            config.task_head.dropout if rate is None else rate
        )
        self.choice_classifier = self._create_classifier(1, "choice_classifier")

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Returns the logits, float32 [B, C]."""
        token_ids = tokens["token_ids"]
        num_choices = token_ids.shape[1] or ops.shape(token_ids)[1]
        rows = {name: fold_rows(x) for name, x in tokens.items()}  # [B * C, T]
        x = self._sequence_vectors(rows, self.pooler, training)  # [B * C, D]
        x = self.dropout(x, training=training)
        logits = self.choice_classifier(ops.cast(x, "float32"))  # [B * C, 1]
        return ops.reshape(logits, (-1, num_choices))


class EmbeddingModel(TaskModel):
    """One vector for a whole sequence.

    Args:
        config: TransformerConfig.
        pooling: "mean" of the real tokens, "cls" (the first token), "last"
            (the last real one), "max" of each component, "mean_sqrt_len" (the
            sum divided by the root of the number of tokens), "weighted_mean"
            (weight i for the i-th token); or several of them, concatenated.
        projections: ProjectionConfigs, or their dicts, of dense layers after
            the pooling.
        normalize: Divide vectors by their Euclidean norm.
        truncate_dim: Keep the first components only; None: all.

    Call args: Those of TaskModel.

    Returns:
        float32 [B, E]; E is `output_size`.

    Raises:
        ValueError: A projection does not fit the width before it, or a
            decoder pools its first token.

    Reference: Reimers and Gurevych, 2019, section 3; Kusupati et al., 2022
    (truncation).
    """

    architecture = "encoder"
    leaves_out = ("pooler.",)

    def __init__(
        self,
        config: TransformerConfig,
        pooling: Pooling | Sequence[Pooling] = "mean",
        projections: Sequence[ProjectionConfig | dict[str, Any]] = (),
        normalize: bool = True,
        truncate_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(config, **kwargs)
        self.poolings = _checked_poolings(pooling, config)
        self.pooling = pooling if isinstance(pooling, str) else list(pooling)
        self.normalize, self.truncate_dim = normalize, truncate_dim
        self.output_size = len(self.poolings) * config.output_size
        self.projections = []
        for i, projection in enumerate(projections):
            if isinstance(projection, dict):
                projection = ProjectionConfig(**projection)
            if projection.input_size != self.output_size:
                raise ValueError(
                    f"`projections` must take the {self.output_size} numbers "
                    "of what comes before. Received: a layer that takes "
                    f"{projection.input_size}"
                )
            self.projections.append(
                Projection(projection, name=f"projection_{i}")
            )
            self.output_size = projection.output_size
        if truncate_dim is not None:
            if not 0 < truncate_dim <= self.output_size:
                raise ValueError(
                    "`truncate_dim` must be from 1 to the vector's "
                    f"{self.output_size} numbers. Received: {truncate_dim}"
                )
            self.output_size = truncate_dim

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Returns the vectors, float32 [B, E]."""
        first_only = self.poolings == ("cls",)
        x = self._hidden_states(tokens, training, first_only)  # [B, 1 or T, D]
        mask = None if first_only else tokens["padding_mask"]
        vectors = [
            ops.cast(POOLINGS[name](x, mask), "float32")
            for name in self.poolings
        ]
        x = vectors[0] if len(vectors) == 1 else ops.concatenate(vectors, -1)
        for projection in self.projections:
            x = projection(x, training=training)
        x = unit_length(x) if self.normalize else x
        return x if self.truncate_dim is None else x[:, : self.truncate_dim]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, ready for JSON."""
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "projections": [to_dict(p.config) for p in self.projections],
            "normalize": self.normalize,
            "truncate_dim": self.truncate_dim,
        }


def _checked_poolings(
    pooling: Pooling | Sequence[Pooling], config: TransformerConfig
) -> tuple[Pooling, ...]:
    """Returns poolings as a tuple.

    Raises:
        ValueError: A pooling is unknown, or does not fit a decoder.
    """
    names = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    if not names or any(name not in POOLINGS for name in names):
        raise ValueError(
            f"`pooling` must be among {list(POOLINGS)}. Received: {pooling!r}"
        )
    if "cls" in names and not config.reads_both_sides:
        raise ValueError(
            "`pooling` must not be 'cls' for a decoder, whose first token "
            f"sees no other. Received: {pooling!r}"
        )
    return names


def fold_rows(x: Any) -> Any:
    """Reshapes [B, C, T] to [B * C, T]; None stays None."""
    if x is None:
        return None
    length = x.shape[-1] if x.shape[-1] is not None else ops.shape(x)[-1]
    return ops.reshape(x, (-1, length))
