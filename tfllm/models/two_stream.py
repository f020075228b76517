"""A transformer whose second stream predicts tokens that it does not see."""

from typing import Any

from keras import ops

from tfllm.layers import initial_values
from tfllm.layers.linear import take_positions
from tfllm.layers.relative_attention import Distances, distance_sinusoids
from tfllm.layers.two_stream_block import QueryStream
from tfllm.models.stack_config import TwoStreamConfig
from tfllm.models.transformer import Transformer, penalty_of

# Hidden states before a segment, [B, M, D] for each layer.
Past = tuple[Any, ...]


class TwoStreamTransformer(Transformer):
    """A stack with a content stream and, for predictions, a query stream.

    The content stream of a token holds the token; the query stream of a
    position starts from one trained vector, and sees other tokens alone.
    Without the arguments below there is only the content stream.

    Args:
        config: TransformerConfig with one stack that has a `two_stream`.

    Call args: Those of Transformer, and
        attention_mask: int32 or bool [B, T, T], true where a token (second
            axis) sees another one (third axis), or None if all see all. The
            content stream always sees its own token, the query stream never.
            Not with a cache.
        target_positions: int32 [B, P], positions of the query stream, or
            None. Not with a cache or `output_positions`.
        past: States of the tokens before, from `create_past` or the call
            before, or None. All tokens see them. Not with a cache.

    Returns:
        float [B, T, D] of the content stream; with `target_positions`, [B, P,
        D] of the query stream. With a cache or a past, this and the new one.

    Reference: Yang et al., 2019, section 2.
    """

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights."""
        super().build(input_shape)
        self.query_vector = initial_values.add_normal(
            self,
            "query_vector",
            (1, 1, self.stack.hidden_size),
            self.stack.embeddings.initializer_range,
        )

    def call(  # type: ignore[override]  # the others by name only
        self,
        token_ids: Any,
        padding_mask: Any = None,
        segment_ids: Any = None,
        attention_mask: Any = None,
        target_positions: Any = None,
        past: Past | None = None,
        training: bool = False,
        **others: Any,
    ) -> Any:
        """Returns hidden states [B, T or P, D]; with a past, also that."""
        if others.get("cache") is not None and segment_ids is not None:
            raise ValueError(
                "`segment_ids` do not go with a `cache`, which knows no "
                "segments. Received: both. Leave out one of them"
            )
        if attention_mask is None and target_positions is None and not past:
            return super().call(
                token_ids,
                padding_mask=padding_mask,
                segment_ids=segment_ids,
                training=training,
                **others,
            )
        unfit = sorted(k for k, v in others.items() if v is not None)
        unfit = [k for k in unfit if k not in ("position_ids", "token_table")]
        if unfit:
            raise ValueError(
                "`attention_mask`, `target_positions` and `past` go with the "
                f"tokens and their segments alone. Received: {unfit}"
            )
        return self._call_streams(
            token_ids,
            padding_mask,
            segment_ids,
            attention_mask,
            target_positions,
            past,
            training,
        )

    def _call_streams(
        self,
        token_ids: Any,
        padding_mask: Any,
        segment_ids: Any,
        attention_mask: Any,
        target_positions: Any,
        past: Past | None,
        training: bool,
    ) -> Any:
        """Runs both streams; see `call`."""
        length = ops.shape(token_ids)[1]
        start = ops.shape(past[0])[1] if past else 0
        distances = self._attention_positions(
            None, start, length, start + length, segment_ids
        )
        hidden = self._hidden(
            token_ids, padding_mask, attention_mask, start
        )  # [B, T, S]
        itself = ops.equal(
            start + ops.arange(length)[:, None], ops.arange(start + length)
        )  # [T, S]
        itself = ops.cast(itself, "float32")[None]  # [1, T, S]
        penalty = penalty_of(1.0 - hidden * (1.0 - itself))[:, None]
        hidden = ops.maximum(hidden, itself)
        x = self.embeddings(token_ids, training=training)  # [B, T, D]
        queries = None
        if target_positions is not None:
            states = ops.zeros_like(take_positions(x, target_positions))
            states = states + ops.cast(self.query_vector, x.dtype)
            rows = take_positions(hidden, target_positions)  # [B, P, S]
            queries = QueryStream(
                self.embeddings.dropout(states, training=training),
                distances.at(target_positions),
                penalty_of(1.0 - rows)[:, None],
            )
        states_of_layers = []
        for i in range(self.stack.num_layers):
            states_of_layers.append(x)
            x, _, *predicted = self.blocks[self.stack.block_index(i)](
                x,
                mask_penalty=penalty,
                positions=distances,
                queries=queries,
                past=past[i] if past else None,
                training=training,
            )  # [B, T, D]
            if queries is not None:
                queries = queries._replace(states=predicted[0])  # [B, P, D]
        y = x if queries is None else queries.states
        y = self.final_dropout(y, training=training)
        return y if past is None else (y, self._grown(past, states_of_layers))

    def create_past(self, batch_size: int) -> Past:
        """Returns the past of a first segment, which is empty.

        Args:
            batch_size: B.
        """
        shape = (batch_size, 0, self.stack.hidden_size)
        empty = ops.zeros(shape, self.compute_dtype)
        return (empty,) * self.stack.num_layers

    @property
    def _limits(self) -> TwoStreamConfig:
        """Config of the second stream and its memory."""
        assert self.stack.two_stream is not None
        return self.stack.two_stream

    def _grown(self, past: Past, states: list[Any]) -> Past:
        """Returns the past of the next segment, without a gradient.

        Args:
            past: That of this segment.
            states: float [B, T, D], the input of each layer.
        """
        limits = self._limits
        kept = []
        for before, x in zip(past, states, strict=True):
            x = x[:, : limits.reuse_length]
            x = ops.concatenate([ops.cast(before, x.dtype), x], axis=1)
            if limits.memory_length is not None:
                x = x[:, -limits.memory_length :]
            kept.append(ops.stop_gradient(x))
        return tuple(kept)

    def _hidden(
        self, token_ids: Any, padding_mask: Any, attention_mask: Any, start: Any
    ) -> Any:
        """Returns float32 [B, T, S], 1 where a query does not see a key."""
        batch, length = ops.shape(token_ids)
        visible = ops.ones((batch, length, length), "bool")
        if padding_mask is not None:
            visible = ops.cast(padding_mask, "bool")[:, None] & visible
        if attention_mask is not None:
            visible = ops.cast(attention_mask, "bool") & visible
        hidden = 1.0 - ops.cast(visible, "float32")  # [B, T, T]
        before = ops.zeros((batch, length, start), "float32")
        return ops.concatenate([before, hidden], axis=2)

    def _attention_positions(
        self,
        position_ids: Any,
        start: Any,
        length: Any,
        num_keys: Any,
        segment_ids: Any = None,
    ) -> Distances:
        """Returns the distances of all queries for the attention of blocks.

        Tokens of the past, or in a cache, count as those of segment 0.
        """
        sinusoids = distance_sinusoids(
            self.stack.hidden_size,
            length,
            num_keys,
            start,
            self._limits.clamp_distance,
        )
        if segment_ids is None:
            return Distances(sinusoids)
        keys = ops.pad(segment_ids, [[0, 0], [num_keys - length, 0]])  # [B, S]
        differ = ops.not_equal(segment_ids[:, :, None], keys[:, None])
        return Distances(sinusoids, ops.cast(differ, "float32"))


def factorization_mask(order: Any) -> Any:
    """Returns the `attention_mask` of an order in which tokens are predicted.

    A token sees those of order 0, which are given, and those of lower order.

    Args:
        order: int32 [B, T], 0 for tokens that are given, else from 1.

    Returns:
        bool [B, T, T].

    Reference: Yang et al., 2019, section 2.2.
    """
    queries, keys = order[:, :, None], order[:, None, :]
    return ops.logical_or(ops.equal(keys, 0), ops.less(keys, queries))
