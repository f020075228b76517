"""A two-stream transformer that predicts tokens in any order."""

from typing import Any

from tfllm.layers.output_head import OutputHead
from tfllm.models.base import TransformerModel
from tfllm.models.config import TransformerConfig
from tfllm.models.two_stream import Past


class PermutationModel(TransformerModel):
    """A two-stream encoder with a head that predicts tokens.

    Args:
        config: TransformerConfig of an encoder with an `output_head` and a
            `two_stream`.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T] or None.
        segment_ids: int32 [B, T] or None.
        masked_positions: int32 [B, P], positions to predict from the query
            stream, which does not see their tokens; None to read the content
            stream at every position, which does.
        attention_mask: int32 [B, T, T] or None; see TwoStreamTransformer and
            `factorization_mask`. Tokens must not see those that are predicted
            without seeing them, or their content leaks through the others.
        past: As in TwoStreamTransformer, or None.
        training: Apply dropout.

    Returns:
        Dict of `plm`, float32 [B, P or T, V]. With a past, this dict and the
        new past.

    Numerics: logits in float32 under any policy.

    Reference: Yang et al., 2019, section 2.3.
    """

    architecture = "permutation_lm"

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        if config.stack.two_stream is None or config.output_head is None:
            raise ValueError(
                "`config` must have an `output_head` and an encoder with a "
                "`two_stream` for predictions in any order. Received: family "
                f"{config.family!r} without"
            )
        self.token_head = OutputHead(
            config.output_head, name="token_head", dtype=self.dtype_policy
        )

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        masked_positions: Any = None,
        attention_mask: Any = None,
        past: Past | None = None,
        training: bool = False,
    ) -> Any:
        """Returns the logits; with a past, also the new one."""
        x = self.transformer(
            token_ids,
            padding_mask=padding_mask,
            segment_ids=segment_ids,
            attention_mask=attention_mask,
            target_positions=masked_positions,
            past=past,
            training=training,
        )  # [B, P or T, D]
        if past is not None:
            x, past = x
        table = self.transformer.embeddings.token_table
        outputs = {"plm": self.token_head(x, token_table=table)}
        return outputs if past is None else (outputs, past)

    def create_past(self, batch_size: int) -> Past:
        """Returns the past of a first segment, which is empty.

        Args:
            batch_size: B.
        """
        return self.transformer.create_past(batch_size)
