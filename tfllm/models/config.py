"""Settings of a whole model: the stack and its heads."""

import dataclasses
from typing import Any

from tfllm.layers.config import (
    BlockConfig,
    EmbeddingConfig,
    NormConfig,
    check_positive,
    from_dict,
    to_dict,
)
from tfllm.layers.heads import (
    MaskedLMHeadConfig,
    PoolerConfig,
    TaskHeadConfig,
)


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """A stack of equal blocks on top of embeddings.

    Attributes:
        family: Name in `tfllm.models.FAMILIES`.
        embeddings: Input embeddings.
        block: Every block.
        num_layers: Number of blocks.
        final_norm: Normalization after the last block, or None.
        pooler: Vector for the whole sequence, or None.
        masked_lm_head: Prediction of masked tokens, or None.
        task_head: Heads that fine-tuning adds.
        pad_token_id: Id of the padding token.
        bos_token_id: Id of the token that opens a text, or None.
        eos_token_id: Id of the token that ends a text, or None.
        scale_scores_by_layer: Divide the attention scores of layer i, from
            1, by i.
    """

    family: str
    embeddings: EmbeddingConfig
    block: BlockConfig
    num_layers: int
    final_norm: NormConfig | None = None
    pooler: PoolerConfig | None = None
    masked_lm_head: MaskedLMHeadConfig | None = None
    task_head: TaskHeadConfig = TaskHeadConfig()
    pad_token_id: int = 0
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    scale_scores_by_layer: bool = False

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "num_layers")
        width = self.block.attention.hidden_size
        if self.embeddings.hidden_size != width:
            raise ValueError(
                "`embeddings` and `block` must have one `hidden_size`. "
                f"Received: {self.embeddings.hidden_size} and {width}"
            )
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ValueError(
                    f"`{name}` must be an id of the vocabulary of "
                    f"{self.vocab_size}. Received: {value}"
                )

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states, D."""
        return self.block.attention.hidden_size

    @property
    def vocab_size(self) -> int:
        """Rows of the token table, V."""
        return self.embeddings.vocab_size

    @property
    def max_length(self) -> int | None:
        """Longest sequence, or None if the positions set no limit."""
        return self.embeddings.max_position_embeddings or None

    @property
    def is_causal(self) -> bool:
        """Whether the model is a decoder."""
        return self.block.attention.causal

    def block_of(self, layer: int) -> BlockConfig:
        """Returns the config of one block, counted from 0."""
        if not self.scale_scores_by_layer:
            return self.block
        attention = self.block.attention
        scale = attention.score_scale / (layer + 1)
        return dataclasses.replace(
            self.block, attention=dataclasses.replace(attention, scale=scale)
        )

    def with_dropout(self, rate: float) -> "TransformerConfig":
        """Returns the config with one rate for all its dropouts."""
        replace = dataclasses.replace
        return replace(
            self,
            embeddings=replace(self.embeddings, dropout=rate),
            block=replace(
                self.block,
                dropout=rate,
                attention=replace(self.block.attention, dropout=rate),
            ),
            task_head=replace(self.task_head, dropout=rate),
        )

    def with_initializer_range(self, spread: float) -> "TransformerConfig":
        """Returns the config with fresh weights of another deviation.

        Deviations that differ from each other keep their ratios.
        """
        factor = spread / self.embeddings.initializer_range

        def scaled(values: dict[str, Any]) -> dict[str, Any]:
            return {
                name: scaled(value)
                if isinstance(value, dict)
                else value * factor
                if name.endswith("initializer_range") and value is not None
                else value
                for name, value in values.items()
            }

        return self.from_dict(scaled(self.to_dict()))

    def with_max_length(self, length: int) -> "TransformerConfig":
        """Returns the config with another number of learned positions."""
        replace = dataclasses.replace
        return replace(
            self,
            embeddings=replace(self.embeddings, max_position_embeddings=length),
        )

    def with_vocab_size(self, size: int) -> "TransformerConfig":
        """Returns the config with tables and heads for another vocabulary."""
        replace = dataclasses.replace
        head = self.masked_lm_head
        return replace(
            self,
            embeddings=replace(self.embeddings, vocab_size=size),
            masked_lm_head=head and replace(head, vocab_size=size),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns nested plain dicts, ready for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TransformerConfig":
        """Builds the config from what `to_dict` returned."""
        return from_dict(cls, values)
