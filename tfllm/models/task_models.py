"""A transformer with one head: sequences, tokens, spans, choices, vectors.

Every model takes what the data of a task has: token ids and a mask of the
real ones, padded on either side. What a family's heads look like stands in
`TransformerConfig.task_head` and `.pooler`.
"""

from typing import Any, Literal

from keras import ops

from tfllm.layers.dropout import Dropout
from tfllm.layers.heads import Pooler
from tfllm.layers.linear import Linear
from tfllm.layers.pooling import last_token, mean_of_tokens, unit_length
from tfllm.models.config import TransformerConfig
from tfllm.models.transformer import TransformerModel

Pooling = Literal["mean", "cls", "last"]
# The first four call arguments of a TaskModel, by name.
Tokens = dict[str, Any]

# Taken off a logit of what cannot be chosen. Finite, so that the loss is.
HIDDEN_LOGIT = 1e9


def hidden(logits: Any, mask: Any) -> Any:
    """Returns logits, lower by `HIDDEN_LOGIT` where an int32 mask is 0."""
    return logits - (1.0 - ops.cast(mask, "float32")) * HIDDEN_LOGIT


class TaskModel(TransformerModel):
    """A transformer with one head: the base of the models below.

    A subclass adds its head in the constructor and implements `outputs`.

    Args:
        config: TransformerConfig.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T] or None.
        segment_ids: int32 [B, T] or None.
        position_ids: int32 [B, T] or None; a decoder counts
            from the first real token.
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
        """See the class."""
        tokens = {
            "token_ids": token_ids,
            "padding_mask": padding_mask,
            "segment_ids": segment_ids,
            "position_ids": position_ids,
        }
        return self.outputs(tokens, training)

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Returns what `call` returns."""
        raise NotImplementedError

    def _hidden_states(
        self, tokens: Tokens, training: bool, first_only: bool = False
    ) -> Any:
        """Returns float [B, 1 or T, D].

        Args:
            tokens: What `call` was given.
            training: Apply dropout.
            first_only: Compute the last block for the first tokens alone.
        """
        position_ids = tokens["position_ids"]
        padding_mask = tokens["padding_mask"]
        causal = self.config.is_causal
        if position_ids is None and padding_mask is not None and causal:
            real = ops.cast(padding_mask, "int32")
            first = ops.expand_dims(ops.argmax(real, axis=1), 1)
            places = ops.arange(ops.shape(real)[1], dtype="int32")
            position_ids = ops.maximum(places - ops.cast(first, "int32"), 0)
        positions = None
        if first_only:
            positions = ops.zeros_like(
                tokens["token_ids"][:, :1], dtype="int32"
            )
        return self.transformer(
            **{**tokens, "position_ids": position_ids},
            positions=positions,
            training=training,
        )

    def _sequence_vectors(
        self, tokens: Tokens, pooler: Pooler | None, training: bool
    ) -> Any:
        """Returns [B, D]: the pooler's vector, else that of the last token."""
        if pooler is not None:  # which reads the first token
            return pooler(self._hidden_states(tokens, training, True))
        x = self._hidden_states(tokens, training)
        return last_token(x, tokens["padding_mask"])

    def _create_dropout(self, rate: float) -> Dropout:
        """Returns the dropout before a head."""
        return Dropout(rate, name="dropout", dtype=self.dtype_policy)

    def _create_classifier(
        self, num_outputs: int, name: str, use_bias: bool = True
    ) -> Linear:
        """Returns the last layer of a head, in float32 under any policy."""
        return Linear(
            self.config.hidden_size,
            num_outputs,
            use_bias=use_bias,
            initializer_range=self.config.task_head.initializer_range,
            name=name,
            dtype="float32",
        )


class SequenceModel(TaskModel):
    """Logits of labels for a whole sequence.

    Args:
        config: TransformerConfig. With a `pooler` the head reads its vector
            of the first token, else the last real token.
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
        """See the class."""
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        head = config.task_head
        self.pooler = self._create_pooler()
        self.dropout = self._create_dropout(
            head.dropout if head.drop_sequence else 0.0
        )
        self.sequence_classifier = self._create_classifier(
            num_labels, "sequence_classifier", head.sequence_bias
        )

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """See the base class."""
        x = self._sequence_vectors(tokens, self.pooler, training)
        x = self.dropout(x, training=training)
        return self.sequence_classifier(ops.cast(x, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "num_labels": self.num_labels}


class TokenModel(TaskModel):
    """Logits of labels for every token.

    Args:
        config: TransformerConfig.
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
        """See the class."""
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        self.dropout = self._create_dropout(config.task_head.dropout)
        self.token_classifier = self._create_classifier(
            num_labels, "token_classifier"
        )

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """See the base class."""
        x = self._hidden_states(tokens, training)
        x = self.dropout(x, training=training)
        return self.token_classifier(ops.cast(x, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "num_labels": self.num_labels}


class SpanModel(TaskModel):
    """Logits for every token to be the first, and the last, of a span.

    Args:
        config: TransformerConfig.

    Call args: Those of TaskModel, and
        answer_mask: int32 [B, T], true where a span may be, or None.
            Elsewhere logits are lower by `HIDDEN_LOGIT`.

    Returns:
        Dict of `start` and `end`, float32 [B, T].

    Reference: Devlin et al., 2019, section 4.2.
    """

    architecture = "question_answering"
    leaves_out = ("pooler.",)

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
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
        """See the class."""
        logits = super().call(
            token_ids, padding_mask, segment_ids, position_ids, training
        )
        if answer_mask is not None:
            logits = hidden(logits, ops.expand_dims(answer_mask, 2))
        return {"start": logits[..., 0], "end": logits[..., 1]}

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Returns float32 [B, T, 2], before the mask."""
        x = self._hidden_states(tokens, training)
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
        """See the class."""
        super().__init__(config, **kwargs)
        self.pooler = self._create_pooler()
        self.dropout = self._create_dropout(config.task_head.dropout)
        self.choice_classifier = self._create_classifier(1, "choice_classifier")

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """See the base class."""
        token_ids = tokens["token_ids"]
        num_choices = token_ids.shape[1] or ops.shape(token_ids)[1]
        rows = {name: fold_rows(value) for name, value in tokens.items()}
        x = self._sequence_vectors(rows, self.pooler, training)
        x = self.dropout(x, training=training)
        logits = self.choice_classifier(ops.cast(x, "float32"))
        return ops.reshape(logits, (-1, num_choices))


class EmbeddingModel(TaskModel):
    """One vector for a whole sequence.

    Args:
        config: TransformerConfig.
        pooling: "mean" of the real tokens, "cls" (the first token) or
            "last" (the last real one).
        normalize: Divide the vectors by their length.

    Call args: Those of TaskModel.

    Returns:
        float32 [B, D].

    Reference: Reimers and Gurevych, 2019, section 3.
    """

    architecture = "encoder"
    leaves_out = ("pooler.",)

    def __init__(
        self,
        config: TransformerConfig,
        pooling: Pooling = "mean",
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        if pooling not in ("mean", "cls", "last"):
            raise ValueError(
                "`pooling` must be 'mean', 'cls' or 'last'. "
                f"Received: {pooling!r}"
            )
        if pooling == "cls" and config.is_causal:
            raise ValueError(
                "`pooling` must be 'mean' or 'last' for a decoder, whose "
                "first token sees no other. Received: 'cls'"
            )
        self.pooling, self.normalize = pooling, normalize

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """See the base class."""
        first_only = self.pooling == "cls"
        x = self._hidden_states(tokens, training, first_only)
        if self.pooling == "mean":
            x = mean_of_tokens(x, tokens["padding_mask"])
        elif self.pooling == "last":
            x = last_token(x, tokens["padding_mask"])
        else:
            x = x[:, 0]
        x = ops.cast(x, "float32")
        return unit_length(x) if self.normalize else x

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "normalize": self.normalize,
        }


def fold_rows(x: Any) -> Any:
    """Returns [B * C, T] for [B, C, T], None for None."""
    if x is None:
        return None
    length = x.shape[-1] if x.shape[-1] is not None else ops.shape(x)[-1]
    return ops.reshape(x, (-1, length))
