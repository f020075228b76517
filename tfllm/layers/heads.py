"""Heads of encoders that several families share, and configs of heads."""

import dataclasses
from typing import Any, Literal

from keras import ops

from tfllm.layers.activations import ACTIVATIONS
from tfllm.layers.config import Activation, NormConfig
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.fields import (
    check_literals,
    check_positive,
    check_rate,
    check_spread,
)
from tfllm.layers.hand_gradients import tied_logits
from tfllm.layers.linear import Linear
from tfllm.layers.normalization import Norm
from tfllm.layers.pooling import last_token


@dataclasses.dataclass(frozen=True)
class PoolerConfig:
    """A vector for the whole sequence.

    Attributes:
        hidden_size: Width of the hidden states, D.
        activation: Applied to the projection.
        initializer_range: Standard deviation of the truncated normal.
        token: Token that it reads: the first one, or the last real one.
    """

    hidden_size: int
    activation: Activation = "tanh"
    initializer_range: float = 0.02
    token: Literal["first", "last"] = "first"

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "hidden_size")
        check_spread(self, "initializer_range")


@dataclasses.dataclass(frozen=True)
class MaskedLMHeadConfig:
    """Prediction of tokens with the (tied) token table.

    Attributes:
        hidden_size: Width of the hidden states, D.
        embedding_size: Width of the token table.
        vocab_size: Rows of the token table, V.
        norm: Normalization after the dense layer.
        activation: Activation of the dense layer.
        initializer_range: Standard deviation of the truncated normal.
    """

    hidden_size: int
    embedding_size: int
    vocab_size: int
    norm: NormConfig
    activation: Activation = "gelu"
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "hidden_size", "embedding_size", "vocab_size")
        check_spread(self, "initializer_range")


@dataclasses.dataclass(frozen=True)
class DetectionHeadConfig:
    """Detection of replaced tokens.

    Attributes:
        hidden_size: Width of the hidden states, D.
        activation: Activation of the dense layer.
        initializer_range: Standard deviation of the truncated normal.
    """

    hidden_size: int
    activation: Activation = "gelu"
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "hidden_size")
        check_spread(self, "initializer_range")


@dataclasses.dataclass(frozen=True)
class TaskHeadConfig:
    """Heads for labels of sequences, tokens, spans and choices.

    Attributes:
        dropout: Rate on the input of the heads for sequences.
        token_dropout: Rate on the input of the head for tokens; None means
            `dropout`.
        span_dropout: Rate on the input of the head for spans.
        drop_sequence: Whether the head for a sequence has dropout too.
        sequence_bias: Whether the head for a sequence has a bias.
        initializer_range: Standard deviation of the truncated normal.
        sequence_dense: Activation of a dense layer on the first token, with
            dropout before and after it. It replaces the pooler in the head
            for a sequence; "" for none.
        choice_dropout: Rate on the input of the head for choices; None means
            `dropout`.
    """

    dropout: float = 0.1
    token_dropout: float | None = None
    span_dropout: float = 0.0
    drop_sequence: bool = True
    sequence_bias: bool = True
    initializer_range: float = 0.02
    sequence_dense: Activation | Literal[""] = ""
    choice_dropout: float | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_rate(self, "dropout", "span_dropout")
        for name in ("token_dropout", "choice_dropout"):
            if getattr(self, name) is not None:
                check_rate(self, name)
        if self.sequence_dense not in ("", *ACTIVATIONS):
            raise ValueError(
                f"`sequence_dense` must be one of {list(ACTIVATIONS)} or ''. "
                f"Received: {self.sequence_dense!r}"
            )
        check_spread(self, "initializer_range")

    def with_dropout(self, rate: float) -> "TaskHeadConfig":
        """Returns the config with one rate for every dropout."""
        return dataclasses.replace(
            self,
            dropout=rate,
            token_dropout=None if self.token_dropout is None else rate,
            choice_dropout=None if self.choice_dropout is None else rate,
            # Families without dropout before this head get none.
            span_dropout=rate if self.span_dropout else 0.0,
        )


class Pooler(ConfiguredLayer):
    """Dense layer on the hidden state of the first or the last token.

    Args:
        config: PoolerConfig.

    Call args:
        hidden_states: float [B, T, D].
        padding_mask: int32 or bool [B, T], true for real tokens, or None if
            all are real. Only the last token depends on it.

    Returns:
        float [B, D].

    Reference: Devlin et al., 2019, section 3 ("final hidden state
    corresponding to [CLS]").
    """

    config_class = PoolerConfig

    def __init__(self, config: PoolerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.dense = Linear(
            config.hidden_size,
            config.hidden_size,
            initializer_range=config.initializer_range,
            name="dense",
            dtype=self.dtype_policy,
        )
        self.activation = ACTIVATIONS[config.activation]

    def call(self, hidden_states: Any, padding_mask: Any = None) -> Any:
        """Returns the vector of the token, float [B, D]."""
        x = (
            hidden_states[:, 0]
            if self.config.token == "first"
            else last_token(hidden_states, padding_mask)
        )  # [B, D]
        return self.activation(self.dense(x))


class MaskedLMHead(ConfiguredLayer):
    """Logits of masked tokens over the vocabulary.

    Args:
        config: MaskedLMHeadConfig.

    Call args:
        hidden_states: float [B, T, D].
        token_table: The tied table, float [V, E].

    Returns:
        float32 [B, T, V].

    Numerics: logits in float32 under any policy.

    Reference: Devlin et al., 2019, section 3.1, task 1; Press and Wolf,
    2017 (tied table).
    """

    config_class = MaskedLMHeadConfig

    def __init__(self, config: MaskedLMHeadConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.dense = Linear(
            config.hidden_size,
            config.embedding_size,
            initializer_range=config.initializer_range,
            name="dense",
            dtype=self.dtype_policy,
        )
        self.norm = Norm(config.norm, name="norm", dtype=self.dtype_policy)
        self.activation = ACTIVATIONS[config.activation]

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        super().build(input_shape)
        self.bias = self.add_weight(
            name="bias",
            shape=(self.config.vocab_size,),
            initializer="zeros",
            autocast=False,
        )

    def call(self, hidden_states: Any, token_table: Any) -> Any:
        """Returns the logits, float32 [B, T, V]."""
        length = ops.shape(hidden_states)[1]
        x = ops.reshape(
            hidden_states, (-1, self.config.hidden_size)
        )  # [B * T, D]
        x = self.norm(self.activation(self.dense(x)))  # [B * T, E]
        logits = tied_logits(
            ops.cast(x, "float32"),
            # Reshaped, variables become tensors, which have gradients.
            ops.reshape(
                ops.cast(token_table, "float32"), ops.shape(token_table)
            ),
            ops.reshape(self.bias, (-1,)),
        )  # [B * T, V]
        return ops.reshape(logits, (-1, length, self.config.vocab_size))


class DetectionHead(ConfiguredLayer):
    """Logit of each token to be a replaced one.

    Args:
        config: DetectionHeadConfig.

    Call args:
        hidden_states: float [B, T, D].

    Returns:
        float32 [B, T].

    Numerics: logits in float32 under any policy.

    Reference: Clark et al., 2020, section 3.
    """

    config_class = DetectionHeadConfig

    def __init__(self, config: DetectionHeadConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.dense = Linear(
            config.hidden_size,
            config.hidden_size,
            initializer_range=config.initializer_range,
            name="dense",
            dtype=self.dtype_policy,
        )
        self.activation = ACTIVATIONS[config.activation]
        self.classifier = Linear(
            config.hidden_size,
            1,
            initializer_range=config.initializer_range,
            name="classifier",
            dtype="float32",
        )

    def call(self, hidden_states: Any) -> Any:
        """Returns the logits, float32 [B, T]."""
        x = self.activation(self.dense(hidden_states))  # [B, T, D]
        return self.classifier(ops.cast(x, "float32"))[..., 0]  # [B, T]
