"""A transformer with one head: sequences, tokens, spans, choices, vectors.

Every model takes what the data of a task has: token ids and a mask of the
real ones, padded on either side. What a family's heads look like stands in
`TransformerConfig.task_head` and `.pooler`.
"""

from typing import Any, Literal

from keras import ops

from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.heads import Pooler
from tfllm.layers.linear import Linear
from tfllm.layers.pooling import last_token, mean_of_tokens, unit_length
from tfllm.models.config import TransformerConfig
from tfllm.models.transformer import Transformer

Pooling = Literal["mean", "cls", "last"]

# Taken off a logit where no span may be. Finite, so that the loss is.
HIDDEN_LOGIT = 1e9


class SequenceModel(ConfiguredLayer):
    """Logits of labels for a whole sequence.

    Args:
        config: TransformerConfig. With a `pooler` the head reads its vector
            of the first token, else the last real token.
        num_labels: Number of logits, L.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T] or None.
        segment_ids: int32 [B, T] or None.
        position_ids: int32 [B, T] or None; a decoder counts
            from the first real token.
        training: Apply dropout.

    Returns:
        float32 [B, L].

    Reference: Devlin et al., 2019, section 4.1; Radford et al., 2018,
    section 3.2 (last token).
    """

    config_class = TransformerConfig
    # Key of `Family.architectures`.
    architecture = "sequence_classification"

    def __init__(
        self, config: TransformerConfig, num_labels: int = 2, **kwargs: Any
    ) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        head, policy = config.task_head, self.dtype_policy
        self.transformer = Transformer(config, name="transformer", dtype=policy)
        self.pooler = _create_pooler(config, policy)
        self.dropout = Dropout(
            head.dropout if head.drop_sequence else 0.0,
            name="dropout",
            dtype=policy,
        )
        self.sequence_classifier = _create_classifier(
            config,
            num_labels,
            name="sequence_classifier",
            use_bias=head.sequence_bias,
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        _build(self.transformer, self.pooler, self.sequence_classifier)
        self.built = True

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        training: bool = False,
    ) -> Any:
        """See the class."""
        x = _sequence_vectors(
            self.transformer,
            self.pooler,
            token_ids,
            padding_mask=padding_mask,
            segment_ids=segment_ids,
            position_ids=position_ids,
            training=training,
        )
        x = self.dropout(x, training=training)
        return self.sequence_classifier(ops.cast(x, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "num_labels": self.num_labels}


class TokenModel(ConfiguredLayer):
    """Logits of labels for every token.

    Args:
        config: TransformerConfig.
        num_labels: Number of logits, L.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T] or None.
        segment_ids: int32 [B, T] or None.
        position_ids: int32 [B, T] or None; a decoder counts
            from the first real token.
        training: Apply dropout.

    Returns:
        float32 [B, T, L].

    Reference: Devlin et al., 2019, section 5.3.
    """

    config_class = TransformerConfig
    architecture = "token_classification"
    # What a folder may hold and this model does without.
    leaves_out = ("pooler.",)

    def __init__(
        self, config: TransformerConfig, num_labels: int = 2, **kwargs: Any
    ) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        policy = self.dtype_policy
        self.transformer = Transformer(config, name="transformer", dtype=policy)
        self.dropout = Dropout(
            config.task_head.dropout, name="dropout", dtype=policy
        )
        self.token_classifier = _create_classifier(
            config, num_labels, name="token_classifier"
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        _build(self.transformer, self.token_classifier)
        self.built = True

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        training: bool = False,
    ) -> Any:
        """See the class."""
        x = _hidden_states(
            self.transformer,
            token_ids,
            padding_mask=padding_mask,
            segment_ids=segment_ids,
            position_ids=position_ids,
            training=training,
        )
        x = self.dropout(x, training=training)
        return self.token_classifier(ops.cast(x, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "num_labels": self.num_labels}


class SpanModel(ConfiguredLayer):
    """Logits for every token to be the first, and the last, of a span.

    Args:
        config: TransformerConfig.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T] or None.
        segment_ids: int32 [B, T] or None.
        position_ids: int32 [B, T] or None; a decoder counts
            from the first real token.
        answer_mask: int32 [B, T], true where a span may be, or None.
            Elsewhere logits are lower by `HIDDEN_LOGIT`.
        training: Apply dropout.

    Returns:
        Dict of `start` and `end`, float32 [B, T].

    Reference: Devlin et al., 2019, section 4.2.
    """

    config_class = TransformerConfig
    architecture = "question_answering"
    leaves_out = ("pooler.",)

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        self.transformer = Transformer(
            config, name="transformer", dtype=self.dtype_policy
        )
        self.span_classifier = _create_classifier(
            config, 2, name="span_classifier"
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        _build(self.transformer, self.span_classifier)
        self.built = True

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        answer_mask: Any = None,
        training: bool = False,
    ) -> dict[str, Any]:
        """See the class."""
        x = _hidden_states(
            self.transformer,
            token_ids,
            padding_mask=padding_mask,
            segment_ids=segment_ids,
            position_ids=position_ids,
            training=training,
        )
        logits = self.span_classifier(ops.cast(x, "float32"))  # [B, T, 2]
        if answer_mask is not None:
            hidden = 1.0 - ops.cast(answer_mask, "float32")
            logits = logits - ops.expand_dims(hidden, 2) * HIDDEN_LOGIT
        return {"start": logits[..., 0], "end": logits[..., 1]}


class ChoiceModel(ConfiguredLayer):
    """One logit for each of the choices of an example.

    Args:
        config: TransformerConfig; see SequenceModel.

    Call args:
        token_ids: int32 [B, C, T], one sequence per choice.
        padding_mask: int32 [B, C, T] or None.
        segment_ids: int32 [B, C, T] or None.
        position_ids: int32 [B, C, T] or None; a decoder counts
            from the first real token.
        training: Apply dropout.

    Returns:
        float32 [B, C].

    Reference: Devlin et al., 2019, section 4.4; Radford et al., 2018,
    section 3.3.
    """

    config_class = TransformerConfig
    architecture = "multiple_choice"

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        policy = self.dtype_policy
        self.transformer = Transformer(config, name="transformer", dtype=policy)
        self.pooler = _create_pooler(config, policy)
        self.dropout = Dropout(
            config.task_head.dropout, name="dropout", dtype=policy
        )
        self.choice_classifier = _create_classifier(
            config, 1, name="choice_classifier"
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        _build(self.transformer, self.pooler, self.choice_classifier)
        self.built = True

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        training: bool = False,
    ) -> Any:
        """See the class."""
        num_choices = token_ids.shape[1] or ops.shape(token_ids)[1]
        x = _sequence_vectors(
            self.transformer,
            self.pooler,
            fold_rows(token_ids),
            padding_mask=fold_rows(padding_mask),
            segment_ids=fold_rows(segment_ids),
            position_ids=fold_rows(position_ids),
            training=training,
        )
        x = self.dropout(x, training=training)
        logits = self.choice_classifier(ops.cast(x, "float32"))
        return ops.reshape(logits, (-1, num_choices))


class EmbeddingModel(ConfiguredLayer):
    """One vector for a whole sequence.

    Args:
        config: TransformerConfig.
        pooling: "mean" of the real tokens, "cls" (the first token) or
            "last" (the last real one).
        normalize: Divide the vectors by their length.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T] or None.
        segment_ids: int32 [B, T] or None.
        position_ids: int32 [B, T] or None; a decoder counts
            from the first real token.
        training: Apply dropout.

    Returns:
        float32 [B, D].

    Reference: Reimers and Gurevych, 2019, section 3.
    """

    config_class = TransformerConfig
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
        self.transformer = Transformer(
            config, name="transformer", dtype=self.dtype_policy
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        self.transformer.build()
        self.built = True

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        training: bool = False,
    ) -> Any:
        """See the class."""
        x = _hidden_states(
            self.transformer,
            token_ids,
            padding_mask=padding_mask,
            segment_ids=segment_ids,
            position_ids=position_ids,
            positions=_first(token_ids) if self.pooling == "cls" else None,
            training=training,
        )
        if self.pooling == "mean":
            x = mean_of_tokens(x, padding_mask)
        elif self.pooling == "last":
            x = last_token(x, padding_mask)
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


def _create_pooler(config: TransformerConfig, policy: Any) -> Pooler | None:
    """Returns the family's pooler, or None if it has none."""
    if config.pooler is None:
        return None
    return Pooler(config.pooler, name="pooler", dtype=policy)


def _create_classifier(
    config: TransformerConfig,
    num_outputs: int,
    name: str,
    use_bias: bool = True,
) -> Linear:
    """Returns the last layer of a head, in float32 under any policy."""
    return Linear(
        config.hidden_size,
        num_outputs,
        use_bias=use_bias,
        initializer_range=config.task_head.initializer_range,
        name=name,
        dtype="float32",
    )


def _build(*parts: Any) -> None:
    """Creates the weights of the parts that there are."""
    for part in parts:
        if part is not None:
            part.build()


def _first(token_ids: Any) -> Any:
    """Returns int32 [B, 1] of zeros: the first position of every row."""
    return ops.zeros_like(token_ids[:, :1], dtype="int32")


def _hidden_states(
    transformer: Transformer,
    token_ids: Any,
    padding_mask: Any,
    position_ids: Any,
    **options: Any,
) -> Any:
    """Returns float [B, P or T, D]; see the models for the positions."""
    causal = transformer.config.is_causal
    if position_ids is None and padding_mask is not None and causal:
        real = ops.cast(padding_mask, "int32")
        first = ops.expand_dims(ops.argmax(real, axis=1), 1)
        places = ops.arange(ops.shape(real)[1], dtype="int32")
        position_ids = ops.maximum(places - ops.cast(first, "int32"), 0)
    return transformer(
        token_ids,
        padding_mask=padding_mask,
        position_ids=position_ids,
        **options,
    )


def _sequence_vectors(
    transformer: Transformer,
    pooler: Pooler | None,
    token_ids: Any,
    padding_mask: Any,
    **options: Any,
) -> Any:
    """Returns [B, D]: the pooler's vector, else that of the last token."""
    if pooler is None:
        x = _hidden_states(transformer, token_ids, padding_mask, **options)
        return last_token(x, padding_mask)
    # The pooler reads the first token; the last block computes no other.
    x = _hidden_states(
        transformer,
        token_ids,
        padding_mask,
        positions=_first(token_ids),
        **options,
    )
    return pooler(x)
