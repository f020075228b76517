"""Heads on top of an encoder that several families share."""

import dataclasses
from typing import Any

from keras import ops

from tfllm.layers.activations import ACTIVATIONS
from tfllm.layers.config import (
    Activation,
    NormConfig,
    check_literals,
    check_positive,
    check_rate,
)
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.hand_gradients import tied_logits
from tfllm.layers.linear import Linear
from tfllm.layers.normalization import Norm


@dataclasses.dataclass(frozen=True)
class PoolerConfig:
    """A vector for the whole sequence.

    Attributes:
        hidden_size: Width of the hidden states, D.
        activation: Applied to the projection.
        initializer_range: Standard deviation of the truncated normal.
    """

    hidden_size: int
    activation: Activation = "tanh"
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "hidden_size")


@dataclasses.dataclass(frozen=True)
class MaskedLMHeadConfig:
    """Prediction of tokens with the (tied) token table.

    Attributes:
        hidden_size: Width of the hidden states, D.
        embedding_size: Width of the token table.
        vocab_size: Rows of the token table, V.
        activation: Of the transform.
        norm: Of the transform.
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


@dataclasses.dataclass(frozen=True)
class TaskHeadConfig:
    """Heads for labels of sequences, tokens and choices.

    Attributes:
        dropout: Rate on what the heads read; not on that of the head for
            spans.
        drop_sequence: Whether the head for a sequence drops as well.
        sequence_bias: Whether the head for a sequence has a bias.
        initializer_range: Standard deviation of the truncated normal.
    """

    dropout: float = 0.1
    drop_sequence: bool = True
    sequence_bias: bool = True
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_rate(self, "dropout")


class Pooler(ConfiguredLayer):
    """Dense layer on the first token's hidden state.

    Args:
        config: PoolerConfig.

    Call args:
        hidden_states: float [B, T, D].

    Returns:
        float [B, D].

    Reference: Devlin et al., 2019, section 3 ("final hidden state
    corresponding to [CLS]").
    """

    config_class = PoolerConfig

    def __init__(self, config: PoolerConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        self.dense = Linear(
            config.hidden_size,
            config.hidden_size,
            initializer_range=config.initializer_range,
            name="dense",
            dtype=self.dtype_policy,
        )
        self.activation = ACTIVATIONS[config.activation]

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        self.dense.build()
        self.built = True

    def call(self, hidden_states: Any) -> Any:
        """See the class."""
        return self.activation(self.dense(hidden_states[:, 0]))


class MaskedLMHead(ConfiguredLayer):
    """Logits over the vocabulary.

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
        """See the class."""
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
        self.dense.build()
        self.norm.build()
        self.bias = self.add_weight(
            name="bias",
            shape=(self.config.vocab_size,),
            initializer="zeros",
            autocast=False,
        )
        self.built = True

    def call(self, hidden_states: Any, token_table: Any) -> Any:
        """See the class."""
        length = ops.shape(hidden_states)[1]
        x = ops.reshape(hidden_states, (-1, self.config.hidden_size))
        x = self.norm(self.activation(self.dense(x)))
        logits = tied_logits(
            ops.cast(x, "float32"),
            # Reshaped, variables become tensors, which have gradients.
            ops.reshape(
                ops.cast(token_table, "float32"), ops.shape(token_table)
            ),
            ops.reshape(self.bias, (-1,)),
        )
        return ops.reshape(logits, (-1, length, self.config.vocab_size))
