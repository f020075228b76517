"""Models that predict the next token and generate text."""

from typing import Any

from keras import ops

from tfllm.layers.kv_cache import Cache
from tfllm.layers.output_head import OutputHead
from tfllm.models.base import TransformerModel
from tfllm.models.config import TransformerConfig


class LanguageModel(TransformerModel):
    """A decoder, alone or with an encoder, that predicts the next token.

    Args:
        config: TransformerConfig with a `decoder` and an `output_head`.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T], or [B, S] with a cache; None if all
            tokens are real. Padding may be on either side.
        cache: Cache, or None.
        position_ids: int32 [B, T] or None; see Transformer.
        document_ids: int32 [B, T] or None; see Transformer.
        source_ids: int32 [B, S], input of the encoder, if there is one and no
            cache.
        source_mask: int32 [B, S], true for real tokens of the source, or None.
        last_only: Compute the logits of the last position only: that of the
            last prompt token if prompts are padded on the left.
        training: Apply dropout.

    Returns:
        Dict of `clm`, float32 [B, T or 1, V], and `hidden_states`, float
        [B, T, D], after the last normalization. With a cache, this dict and
        the new cache.

    Numerics: logits in float32 under any policy.

    Reference: Radford et al., 2019, section 2; Raffel et al., 2020.
    """

    # "seq2seq_lm" with an encoder.
    architecture = "causal_lm"

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        if not config.generates or config.output_head is None:
            raise ValueError(
                "`config` must have a `decoder` and an `output_head` for a "
                f"language model. Received: {config.kind}, family "
                f"{config.family!r}, output_head={config.output_head}"
            )
        if config.kind == "encoder_decoder":
            self.architecture = "seq2seq_lm"
        self.lm_head = OutputHead(
            config.output_head, name="lm_head", dtype=self.dtype_policy
        )

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        cache: Cache | None = None,
        position_ids: Any = None,
        document_ids: Any = None,
        source_ids: Any = None,
        source_mask: Any = None,
        last_only: bool = False,
        training: bool = False,
    ) -> Any:
        """Returns logits and hidden states; with a cache, also the new one."""
        optional = {
            "position_ids": position_ids,
            "document_ids": document_ids,
            "source_ids": source_ids,
            "source_mask": source_mask,
        }
        x = self.transformer(
            token_ids,
            padding_mask=padding_mask,
            cache=cache,
            training=training,
            **{name: x for name, x in optional.items() if x is not None},
        )
        if cache is not None:
            x, cache = x
        last = x[:, -1:] if last_only else x
        logits = self.logits(last, few=cache is not None)
        outputs = {"clm": logits, "hidden_states": x}
        return outputs if cache is None else (outputs, cache)

    def create_cache(self, batch_size: int, length: int, *source: Any) -> Cache:
        """Returns an empty cache for sequences of up to `length` tokens.

        Args:
            batch_size: B.
            length: S.
            *source: `source_ids` and `source_mask`, if there is an encoder.
        """
        return self.transformer.create_cache(batch_size, length, *source)

    def start(
        self, prompts: Any, real: Any, room: int, first: int | None = None
    ) -> tuple[Any, Any, Cache]:
        """Returns the first input of the decoder, its mask and an empty cache.

        An encoder reads the prompts here.

        Args:
            prompts: int32 [B, P], padded on the left.
            real: bool [B, P], true for real tokens.
            room: Number of tokens to generate.
            first: Token that a decoder beside an encoder reads first; None:
                `decoder_start_token_id` of the config.

        Returns:
            token_ids int32 [B, P] and their mask bool [B, P]; [B, 1] each if
            there is an encoder; and the cache.
        """
        batch, length = ops.shape(prompts)
        if self.config.kind == "decoder":
            return prompts, real, self.create_cache(batch, length + room)
        if first is None:
            first = self.config.decoder_start_token_id
        if first is None:
            raise ValueError(
                "`decoder_start_token_id` is needed to write. Received: none. "
                "Set it in the config to the family's value"
            )
        token_ids = ops.full((batch, 1), first, dtype="int32")
        # Padded on the right, positions of a source are those of training.
        count = ops.sum(ops.cast(real, "int32"), axis=1, keepdims=True)
        columns = ops.arange(length, dtype="int32")[None]  # [1, P]
        source = ops.take_along_axis(
            prompts, (columns - count) % length, axis=1
        )  # [B, P]
        cache = self.create_cache(batch, 1 + room, source, columns < count)
        return token_ids, ops.ones((batch, 1), dtype="bool"), cache

    def logits(self, hidden_states: Any, few: bool = True) -> Any:
        """Returns the logits of hidden states.

        Args:
            hidden_states: float [B, T, D], after the last normalization.
            few: As in OutputHead.

        Returns:
            float32 [B, T, V].
        """
        table = self.transformer.output_embeddings.token_table
        return self.lm_head(hidden_states, token_table=table, few=few)
