"""The stack that every family configures."""

from typing import Any, ClassVar

from keras import ops

from tfllm.layers.attention import HIDDEN_PENALTY
from tfllm.layers.block import TransformerBlock
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.embeddings import Embeddings
from tfllm.layers.hand_gradients import tied_logits
from tfllm.layers.heads import MaskedLMHead, Pooler
from tfllm.layers.kv_cache import KVCache
from tfllm.layers.linear import Linear
from tfllm.layers.normalization import Norm
from tfllm.models.config import TransformerConfig


class Transformer(ConfiguredLayer):
    """Embeddings and a stack of blocks; an encoder, or a causal decoder.

    Args:
        config: TransformerConfig. With `block.attention.causal` it is a
            decoder.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 or bool [B, T], true for real tokens, or [B, S]
            with a cache; None if all are real.
        document_ids: int32 [B, T] or None. A token sees only tokens of the
            same number. Not with a cache.
        segment_ids: int32 [B, T] or None.
        position_ids: int32 [B, T] or None.
        positions: int32 [B, P] whose hidden states are wanted, or None for
            all; not for a decoder. The last block is computed only there.
        cache: One KVCache per block, or None.
        training: Apply dropout.

    Returns:
        float [B, P or T, D]; with a cache, this and the new caches.

    Reference: Vaswani et al., 2017; Devlin et al., 2019.
    """

    config_class = TransformerConfig

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        policy = self.dtype_policy
        self.embeddings = Embeddings(
            config.embeddings, name="embeddings", dtype=policy
        )
        self.blocks = [
            TransformerBlock(
                config.block_of(i), name=f"block_{i}", dtype=policy
            )
            for i in range(config.num_layers)
        ]
        self.final_norm = (
            Norm(config.final_norm, name="final_norm", dtype=policy)
            if config.final_norm is not None
            else None
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        self.embeddings.build()
        for block in self.blocks:
            block.build()
        if self.final_norm is not None:
            self.final_norm.build()
        self.built = True

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        document_ids: Any = None,
        positions: Any = None,
        cache: list[KVCache] | None = None,
        training: bool = False,
    ) -> Any:
        """See the class."""
        if positions is not None and self.config.is_causal:
            raise ValueError(
                "`positions` need an encoder: the mask of a decoder goes by "
                "position. Received: a config with causal=True"
            )
        start = 0 if cache is None else cache[0].index
        x = self.embeddings(
            token_ids,
            segment_ids=segment_ids,
            position_ids=position_ids,
            start=start,
            training=training,
        )
        length = ops.shape(token_ids)[1]
        num_keys = length if cache is None else ops.shape(cache[0].keys)[2]
        mask_penalty = self._mask_penalty(
            padding_mask, length, num_keys, start, document_ids
        )
        new_cache: list[Any] = []
        for i, block in enumerate(self.blocks):
            x, block_cache = block(
                x,
                positions=positions if block is self.blocks[-1] else None,
                mask_penalty=mask_penalty,
                cache=None if cache is None else cache[i],
                training=training,
            )
            new_cache.append(block_cache)
        if self.final_norm is not None:
            x = self.final_norm(x)
        return x if cache is None else (x, new_cache)

    def create_cache(self, batch_size: int, length: int) -> list[KVCache]:
        """Returns empty caches for sequences of up to `length` tokens."""
        attention = self.config.block.attention
        return [
            KVCache.create(
                batch_size,
                length,
                attention.kv_heads,
                attention.head_size,
                self.compute_dtype,
            )
            for _ in self.blocks
        ]

    def _mask_penalty(
        self,
        padding_mask: Any,
        length: Any,
        num_keys: Any,
        start: Any,
        document_ids: Any = None,
    ) -> Any:
        """Returns float32 [B or 1, 1, 1 or T, S] or None: see Attention."""
        visible = None
        if self.config.is_causal:
            queries = ops.expand_dims(start + ops.arange(length), 1)
            keys = ops.expand_dims(ops.arange(num_keys), 0)
            visible = ops.less_equal(keys, queries)[None, None]
        if padding_mask is not None:
            keep = ops.cast(padding_mask, "bool")[:, None, None, :]
            visible = (
                keep if visible is None else ops.logical_and(visible, keep)
            )
        if document_ids is not None:
            same = ops.equal(
                document_ids[:, None, :, None], document_ids[:, None, None, :]
            )
            visible = (
                same if visible is None else ops.logical_and(visible, same)
            )
        if visible is None:
            return None
        return (1.0 - ops.cast(visible, "float32")) * HIDDEN_PENALTY


class TransformerModel(ConfiguredLayer):
    """A transformer with parts of a family's on top: the base of all models.

    A subclass adds its parts in the constructor, in the order in which their
    weights are drawn, and implements `call`.

    Args:
        config: TransformerConfig.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.
    """

    config_class = TransformerConfig
    # Key of `Family.architectures`.
    architecture: str
    # What a folder may hold and the model does without.
    leaves_out: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        self.transformer = Transformer(
            config, name="transformer", dtype=self.dtype_policy
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights of all parts."""
        for part in self._flatten_layers(include_self=False, recursive=False):
            if not part.built:
                part.build()
        self.built = True

    def _create_pooler(self) -> Pooler | None:
        """Returns the family's pooler, or None if it has none."""
        if self.config.pooler is None:
            return None
        return Pooler(
            self.config.pooler, name="pooler", dtype=self.dtype_policy
        )


class PretrainingModel(TransformerModel):
    """A transformer with the heads that its family pretrains with.

    Args:
        config: TransformerConfig with a `masked_lm_head`, and with a
            `pooler` if `num_sequence_labels` is asked for.
        num_sequence_labels: Classes of the sequence head on the pooled
            vector (2 for next-sentence prediction), 0 for no such head.

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
        num_sequence_labels: int = 2,
        **kwargs: Any,
    ) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        if config.masked_lm_head is None:
            raise ValueError(
                "`config.masked_lm_head` is needed for masked-language-model "
                f"pretraining. Received: None, family {config.family!r}"
            )
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
        """See the base class."""
        return "masked_lm" if self.sequence_head is None else "pretraining"

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        masked_positions: Any = None,
        training: bool = False,
    ) -> dict[str, Any]:
        """See the class."""
        positions = masked_positions
        if positions is not None and self.sequence_head is not None:
            # The pooler reads the first token.
            first = ops.zeros_like(positions[:, :1])
            positions = ops.concatenate([first, positions], axis=1)
        x = self.transformer(
            token_ids,
            padding_mask=padding_mask,
            segment_ids=segment_ids,
            positions=positions,
            training=training,
        )
        masked = x if positions is masked_positions else x[:, 1:]
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
        """Returns the JSON form of the constructor's arguments."""
        return {
            **super().get_config(),
            "num_sequence_labels": self.num_sequence_labels,
        }


class LanguageModel(TransformerModel):
    """A decoder whose token table predicts the next token.

    Args:
        config: TransformerConfig with `block.attention.causal`.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 [B, T], or [B, S] with a cache; None if all
            tokens are real. Padding may be on either side.
        position_ids: int32 [B, T] or None: without a cache, the number of
            real tokens before each; with one, its index and on.
        document_ids: int32 [B, T] or None; see Transformer.
        cache: One KVCache per block, or None.
        last_only: Compute only the last position's logits, where prompts
            padded on the left end.
        training: Apply dropout.

    Returns:
        Dict of `clm`, float32 [B, T or 1, V], and `hidden_states`, float
        [B, T, D], after the last normalization; with a cache, this and the
        new caches.

    Numerics: logits in float32 under any policy.

    Reference: Radford et al., 2019, section 2; Press and Wolf, 2017.
    """

    architecture = "causal_lm"

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(config, **kwargs)
        if not config.is_causal:
            raise ValueError(
                "`config.block.attention.causal` is needed for a language "
                f"model. Received: false, family {config.family!r}"
            )

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        position_ids: Any = None,
        document_ids: Any = None,
        cache: list[KVCache] | None = None,
        last_only: bool = False,
        training: bool = False,
    ) -> Any:
        """See the class."""
        if position_ids is None and padding_mask is not None and cache is None:
            counts = ops.cumsum(ops.cast(padding_mask, "int32"), axis=1)
            position_ids = ops.maximum(counts - 1, 0)
        x = self.transformer(
            token_ids,
            padding_mask=padding_mask,
            position_ids=position_ids,
            document_ids=document_ids,
            cache=cache,
            training=training,
        )
        if cache is not None:
            x, cache = x
        last = x[:, -1:] if last_only else x
        compute = self._all_logits if cache is None else self.logits
        logits = compute(last)
        outputs = {"clm": logits, "hidden_states": x}
        return outputs if cache is None else (outputs, cache)

    def create_cache(self, batch_size: int, length: int) -> list[KVCache]:
        """Returns empty caches for sequences of up to `length` tokens."""
        return self.transformer.create_cache(batch_size, length)

    def logits(self, hidden_states: Any) -> Any:
        """Returns the logits of few positions, as in decoding.

        The table comes first in the product, whose rows are then read as
        they lie: up to twice as fast on CPU while there are few columns.

        Args:
            hidden_states: float [B, T, D], after the last normalization.

        Returns:
            float32 [B, T, V].
        """
        x, table = self._factors(hidden_states)
        logits = ops.transpose(ops.matmul(table, ops.transpose(x)))
        return self._by_position(logits, hidden_states)

    def _all_logits(self, hidden_states: Any) -> Any:
        """Returns float32 [B, T, V], with a gradient."""
        logits = tied_logits(*self._factors(hidden_states))
        return self._by_position(logits, hidden_states)

    def _factors(self, hidden_states: Any) -> tuple[Any, Any]:
        """Returns float32 [B * T, D] and the token table, [V, D]."""
        x = ops.reshape(hidden_states, (-1, self.config.hidden_size))
        table = self.transformer.embeddings.token_table
        # Reshaped, variables become tensors, which have gradients.
        table = ops.reshape(ops.cast(table, "float32"), ops.shape(table))
        return ops.cast(x, "float32"), table

    def _by_position(self, logits: Any, hidden_states: Any) -> Any:
        """Returns [B * T, V] as [B, T, V]."""
        length = hidden_states.shape[1]
        if length is None:
            length = ops.shape(hidden_states)[1]
        return ops.reshape(logits, (-1, length, self.config.vocab_size))
