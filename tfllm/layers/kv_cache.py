"""Caches of attention keys and values: of one layer, and of a decoder."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from tfllm.layers import backend


class Memory(NamedTuple):
    """Keys and values that a cross-attention reads, computed once.

    Attributes:
        keys: float [B, K, S, H].
        values: float [B, K, S, H].
    """

    keys: Any
    values: Any


class KVCache(NamedTuple):
    """Keys and values of one layer, in buffers of a fixed length S.

    Attributes:
        keys: float [B, K, S, H].
        values: float [B, K, S, H].
        index: int32 scalar, the number of positions filled.
    """

    keys: Any
    values: Any
    index: Any

    @classmethod
    def create(
        cls,
        batch_size: int,
        length: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: str = "float32",
    ) -> "KVCache":
        """Returns an empty cache for `length` positions."""
        shape = (batch_size, num_kv_heads, length, head_dim)
        return cls(
            keys=ops.zeros(shape, dtype=dtype),
            values=ops.zeros(shape, dtype=dtype),
            index=ops.zeros((), dtype="int32"),
        )

    def append(self, keys: Any, values: Any) -> "KVCache":
        """Returns the cache with T more positions.

        Args:
            keys: float [B, K, T, H].
            values: float [B, K, T, H].
        """
        return KVCache(
            keys=self._write(self.keys, keys),  # [B, K, S, H]
            values=self._write(self.values, values),  # [B, K, S, H]
            index=self.index + ops.shape(keys)[2],
        )

    def _write(self, buffer: Any, new: Any) -> Any:
        """Returns a buffer [B, K, S, H] with new [B, K, T, H] at `index`."""
        new = ops.cast(new, buffer.dtype)
        return backend.put_positions(buffer, new, self.index)


class Cache(NamedTuple):
    """Keys and values of all layers of a decoder, in buffers of length S.

    Attributes:
        keys: float [B, K, S, H] for each layer of the stack.
        values: float [B, K, S, H] for each layer.
        length: int32 scalar, the number of positions filled.
        memory: Memory of each layer's cross-attention; () without one.
        memory_mask: bool [B, S of the source], true for its real tokens; ()
            without a source.
    """

    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    length: Any
    memory: tuple[Memory, ...] = ()
    memory_mask: Any = ()

    @classmethod
    def create(
        cls,
        num_layers: int,
        batch_size: int,
        length: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: str = "float32",
    ) -> "Cache":
        """Returns an empty cache for `length` positions."""
        shape = (batch_size, num_kv_heads, length, head_dim)
        keys, values = (
            tuple(ops.zeros(shape, dtype=dtype) for _ in range(num_layers))
            for _ in range(2)
        )
        return cls(keys, values, ops.zeros((), dtype="int32"))

    @property
    def capacity(self) -> Any:
        """Number of positions in the buffers, S."""
        return ops.shape(self.keys[0])[2]

    def layer(self, number: int) -> KVCache:
        """Returns the cache of one layer's self-attention."""
        return KVCache(self.keys[number], self.values[number], self.length)

    def updated(self, layers: Sequence[KVCache]) -> "Cache":
        """Returns the cache with the new caches of all layers."""
        return self._replace(
            keys=tuple(layer.keys for layer in layers),
            values=tuple(layer.values for layer in layers),
            length=layers[0].index,
        )

    def crop(self, length: Any) -> "Cache":
        """Returns the cache without the positions from `length` on."""
        return self._replace(length=length)

    def take_rows(self, rows: Any) -> "Cache":
        """Returns the cache of the rows int32 [R], in their order."""

        def taken(buffers: tuple[Any, ...]) -> tuple[Any, ...]:
            # [R, K, S, H]
            return tuple(ops.take(buffer, rows, axis=0) for buffer in buffers)

        cache = self._replace(keys=taken(self.keys), values=taken(self.values))
        if not self.memory:
            return cache
        return cache._replace(
            memory=tuple(Memory(*taken(memory)) for memory in self.memory),
            memory_mask=ops.take(self.memory_mask, rows, axis=0),
        )

    def reorder(self, rows: Any) -> "Cache":
        """Returns the cache with its beams in the order int32 [B].

        The beams of a row share its source, so `memory` stays in place.
        """
        kept = self._replace(memory=(), memory_mask=())
        return kept.take_rows(rows)._replace(
            memory=self.memory, memory_mask=self.memory_mask
        )
