"""The transformer stack that every family configures."""

from typing import Any

from keras import ops

from tfllm.layers.attention import HIDDEN_PENALTY
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.dropout import Dropout
from tfllm.layers.embeddings import Embeddings
from tfllm.layers.kv_cache import Cache, Memory
from tfllm.layers.linear import Linear
from tfllm.layers.normalization import Norm
from tfllm.layers.position_config import RelativeBiasConfig, RotaryConfig
from tfllm.layers.positions import RelativeBias, counted_positions
from tfllm.layers.rotary import create_rotation
from tfllm.models.blocks import block_class
from tfllm.models.config import TransformerConfig


class Transformer(ConfiguredLayer):
    """Embeddings and a stack of blocks: an encoder, or a causal decoder.

    Args:
        config: TransformerConfig with one stack.

    Call args:
        token_ids: int32 [B, T].
        padding_mask: int32 or bool [B, T], true for real tokens, or [B, S]
            with a cache, true also for columns to come; None if all are real.
        segment_ids: int32 [B, T] or None.
        position_ids: int32 [B, T], for rows with several documents; None to
            count positions as the config says.
        document_ids: int32 [B, T] or None. A token attends only to tokens of
            the same document. Not with a cache.
        output_positions: int32 [B, P], positions to return, or None for all;
            not for a decoder. The last block computes only these.
        cache: Cache of the tokens before, or None.
        source: float [B, S, D], the encoder's output, for a decoder with
            cross-attention. Not with a cache, which holds its keys and values.
        source_mask: int32 or bool [B, S], true for real tokens of the source,
            or None.
        token_table: float [V, E] of another stack; see Embeddings.
        training: Apply dropout.

    Returns:
        float [B, P or T, D], or [..., E] with a `final_projection` to E; with
        a cache, this and the new cache.

    Reference: Vaswani et al., 2017; Devlin et al., 2019.
    """

    config_class = TransformerConfig

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        if len(config.stacks) > 1:
            raise ValueError(
                "`config` must have one stack; `EncoderDecoder` is for two. "
                "Received: an encoder and a decoder"
            )
        policy = self.dtype_policy
        self.stack = stack = config.stack
        self.embeddings = Embeddings(
            stack.embeddings, name="embeddings", dtype=policy
        )
        create_block = block_class(stack.block_kind)
        self.blocks = [
            create_block(stack.block_of(i), name=f"block_{i}", dtype=policy)
            for i in range(stack.num_blocks)
        ]
        self.final_norm = (
            Norm(stack.final_norm, name="final_norm", dtype=policy)
            if stack.final_norm is not None
            else None
        )
        self.final_projection = (
            Linear(
                stack.hidden_size,
                stack.final_projection,
                use_bias=False,
                initializer_range=stack.embeddings.initializer_range,
                name="final_projection",
                dtype=policy,
            )
            if stack.final_projection is not None
            else None
        )
        positions = stack.embeddings.positions
        self.relative_bias = (
            RelativeBias(positions, name="relative_bias", dtype=policy)
            if isinstance(positions, RelativeBiasConfig)
            else None
        )
        self.final_dropout = Dropout(
            stack.final_dropout, name="final_dropout", dtype=policy
        )

    @property
    def output_embeddings(self) -> Embeddings:
        """Embeddings whose table a tied output head uses."""
        return self.embeddings

    def parts_by_depth(self) -> list[list[ConfiguredLayer]]:
        """Returns the layers of each depth: the embeddings, then the blocks."""
        return [[self.embeddings], *([block] for block in self.blocks)]

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        parts = (
            self.embeddings,
            self.relative_bias,
            *self.blocks,
            self.final_norm,
            self.final_projection,
        )
        for part in parts:
            if part is not None:
                part.build()
        self.built = True

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        position_ids: Any = None,
        document_ids: Any = None,
        output_positions: Any = None,
        cache: Cache | None = None,
        source: Any = None,
        source_mask: Any = None,
        token_table: Any = None,
        training: bool = False,
    ) -> Any:
        """Returns hidden states [B, P or T, D]; with a cache, also that."""
        if output_positions is not None and self.stack.is_causal:
            raise ValueError(
                "`output_positions` need an encoder: the mask of a decoder "
                "goes by position. Received: a causal config"
            )
        length = ops.shape(token_ids)[1]
        start = 0 if cache is None else cache.length
        num_keys = length if cache is None else cache.capacity
        if position_ids is None:
            position_ids = self._count_positions(
                padding_mask, start, length
            )  # [B, T] or None
        x = self.embeddings(
            token_ids,
            segment_ids=segment_ids,
            position_ids=position_ids,
            start=start,
            token_table=token_table,
            training=training,
        )  # [B, T, D]
        windows = map(self.stack.window_of, range(self.stack.num_layers))
        penalties = {
            window: self._mask_penalty(
                padding_mask, length, num_keys, start, document_ids, window
            )
            for window in dict.fromkeys(windows)
        }
        terms = {
            "positions": self._attention_positions(
                position_ids, start, length, num_keys, segment_ids
            ),
            "memory_penalty": _memory_penalty(
                source_mask if cache is None else cache.memory_mask
            ),
            "training": training,
        }
        memories = () if cache is None else cache.memory
        layers = []
        for i in range(self.stack.num_layers):
            block = self.blocks[self.stack.block_index(i)]
            memory = memories[i] if memories else None
            if memory is None and source is not None:
                memory = self._memory(block, source)
            last = i == self.stack.num_layers - 1
            x, layer = block(
                x,
                output_positions=output_positions if last else None,
                mask_penalty=penalties[self.stack.window_of(i)],
                cache=None if cache is None else cache.layer(i),
                memory=memory,
                **terms,
            )  # [B, T, D]; of the last layer [B, P or T, D]
            layers.append(layer)
        if self.final_norm is not None:
            x = self.final_norm(x)
        if self.final_projection is not None:
            x = self.final_projection(x)  # [B, P or T, E]
        x = self.final_dropout(x, training=training)
        return x if cache is None else (x, cache.updated(layers))

    def create_cache(
        self,
        batch_size: int,
        length: int,
        source: Any = None,
        source_mask: Any = None,
    ) -> Cache:
        """Returns an empty cache for sequences of up to `length` tokens.

        Args:
            batch_size: B.
            length: S.
            source: float [B, S of the source, D], the encoder's output. Its
                keys and values are computed here, once.
            source_mask: int32 or bool [B, S of the source] or None.
        """
        attention = self.stack.block.attention
        cache = Cache.create(
            self.stack.num_layers,
            batch_size,
            length,
            attention.kv_heads,
            attention.head_size,
            self.compute_dtype,
        )
        if source is None:
            return cache
        if source_mask is None:
            source_mask = ops.ones(ops.shape(source)[:2], "bool")
        blocks = [
            self.blocks[self.stack.block_index(i)]
            for i in range(self.stack.num_layers)
        ]
        return cache._replace(
            memory=tuple(self._memory(block, source) for block in blocks),
            memory_mask=ops.cast(source_mask, "bool"),
        )

    def _memory(self, block: ConfiguredLayer, source: Any) -> Memory:
        """Returns the keys and values of a source for one block."""
        return block.cross_attention.read(ops.cast(source, self.compute_dtype))

    def _count_positions(
        self, padding_mask: Any, start: Any, length: Any
    ) -> Any:
        """Returns int32 [B, T]; None if positions count up from `start`."""
        positions = self.stack.embeddings.positions
        if padding_mask is None or positions is None:
            return None
        if positions.counted_from == "start":
            return None
        return counted_positions(padding_mask, start, length)

    def _attention_positions(
        self,
        position_ids: Any,
        start: Any,
        length: Any,
        num_keys: Any,
        segment_ids: Any = None,
    ) -> Any:
        """Returns the rotation or the bias for the attention of all blocks."""
        if self.relative_bias is not None:
            return self.relative_bias(
                length=length, num_keys=num_keys, start=start
            )
        positions = self.stack.embeddings.positions
        if not isinstance(positions, RotaryConfig):
            return None
        if position_ids is None:
            position_ids = (start + ops.arange(length, dtype="int32"))[None]
        return create_rotation(positions, position_ids)

    def _mask_penalty(
        self,
        padding_mask: Any,
        length: Any,
        num_keys: Any,
        start: Any,
        document_ids: Any = None,
        window: int | None = None,
    ) -> Any:
        """Returns float32 [B or 1, 1, 1 or T, S] or None: see Attention."""
        visible = None
        if self.stack.is_causal:
            queries = ops.expand_dims(start + ops.arange(length), 1)  # [T, 1]
            keys = ops.expand_dims(ops.arange(num_keys), 0)  # [1, S]
            visible = ops.less_equal(keys, queries)  # [T, S]
            if window is not None:
                near = ops.greater(keys, queries - window)
                visible = ops.logical_and(visible, near)
            visible = visible[None, None]  # [1, 1, T, S]
        if padding_mask is not None:
            keep = ops.cast(padding_mask, "bool")
            keep = keep[:, None, None, :]  # [B, 1, 1, S]
            visible = (
                keep if visible is None else ops.logical_and(visible, keep)
            )
        if document_ids is not None:
            same = ops.equal(
                document_ids[:, None, :, None], document_ids[:, None, None, :]
            )  # [B, 1, T, S]
            visible = (
                same if visible is None else ops.logical_and(visible, same)
            )
        return None if visible is None else penalty_of(visible)


def penalty_of(visible: Any) -> Any:
    """Returns float32 of the same shape: 0 where a key is visible."""
    return (1.0 - ops.cast(visible, "float32")) * HIDDEN_PENALTY


def _memory_penalty(mask: Any) -> Any:
    """Returns float32 [B, 1, 1, S] of a mask [B, S]; None for None or ()."""
    if mask is None or isinstance(mask, tuple):
        return None
    return penalty_of(ops.cast(mask, "bool")[:, None, None, :])
