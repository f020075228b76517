"""An encoder with the heads of masked-language-model pretraining."""

from typing import Any

from keras import ops

from tfllm.layers.heads import MaskedLMHead
from tfllm.layers.linear import Linear
from tfllm.models.base import TransformerModel
from tfllm.models.config import TransformerConfig


class PretrainingModel(TransformerModel):
    """An encoder with a masked-token head and, optionally, a sequence head.

    Args:
        config: TransformerConfig with a `masked_lm_head`, and with a
            `pooler` for a sequence head.
        num_sequence_labels: Classes of the sequence head on the pooled
            vector, 0 for no such head. None: 2 if the config has a
            `pair_objective`, else 0.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T] or None.
        segment_ids: int32 [B, T] or None.
        masked_positions: int32 [B, P], or None to predict every position.
        training: Apply dropout.

    Returns:
        Dict of `mlm`, float32 [B, P or T, V], and with a sequence head
        `nsp`, float32 [B, num_sequence_labels].

    Reference: Devlin et al., 2019, section 3.1.
    """

    def __init__(
        self,
        config: TransformerConfig,
        num_sequence_labels: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(config, **kwargs)
        if config.masked_lm_head is None:
            raise ValueError(
                "`config.masked_lm_head` is needed for masked-language-model "
                f"pretraining. Received: None, family {config.family!r}"
            )
        if num_sequence_labels is None:
            num_sequence_labels = 0 if config.pair_objective == "none" else 2
        if num_sequence_labels and config.pooler is None:
            raise ValueError(
                "`config.pooler` is needed for a sequence head. Received: "
                f"None, num_sequence_labels={num_sequence_labels}"
            )
        self.num_sequence_labels = num_sequence_labels
        self.masked_lm_head = MaskedLMHead(
            config.masked_lm_head,
            name="masked_lm_head",
            dtype=self.dtype_policy,
        )
        self.pooler = self.sequence_head = None
        if num_sequence_labels and config.pooler is not None:
            self.pooler = self._create_pooler()
            self.sequence_head = Linear(
                config.hidden_size,
                num_sequence_labels,
                initializer_range=config.pooler.initializer_range,
                name="sequence_head",
                dtype="float32",
            )

    @property
    def architecture(self) -> str:  # type: ignore[override]
        """Key of `Family.architectures`, by whether it has a sequence head."""
        return "masked_lm" if self.sequence_head is None else "pretraining"

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        masked_positions: Any = None,
        training: bool = False,
    ) -> dict[str, Any]:
        """Returns the logits of both heads."""
        positions = masked_positions
        if positions is not None and self.sequence_head is not None:
            # The pooler reads the first token.
            first = ops.zeros_like(positions[:, :1])
            positions = ops.concatenate([first, positions], 1)  # [B, 1 + P]
        x = self.transformer(
            token_ids,
            padding_mask=padding_mask,
            segment_ids=segment_ids,
            output_positions=positions,
            training=training,
        )
        masked = x if positions is masked_positions else x[:, 1:]  # [B, P, D]
        outputs = {
            "mlm": self.masked_lm_head(
                masked, token_table=self.transformer.embeddings.token_table
            )
        }
        if self.pooler is not None and self.sequence_head is not None:
            pooled = ops.cast(self.pooler(x), "float32")
            outputs["nsp"] = self.sequence_head(pooled)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, ready for JSON."""
        return {
            **super().get_config(),
            "num_sequence_labels": self.num_sequence_labels,
        }
