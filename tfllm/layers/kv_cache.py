"""Keys and values of the tokens seen so far."""

from typing import Any, NamedTuple

from keras import ops


class KVCache(NamedTuple):
    """Keys and values of one layer, in buffers of a fixed length S.

    Attributes:
        keys: float [B, K, S, H].
        values: float [B, K, S, H].
        index: int32 scalar; number of positions filled.
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
            keys=self._put(self.keys, keys),
            values=self._put(self.values, values),
            index=self.index + ops.shape(keys)[2],
        )

    def _put(self, buffer: Any, new: Any) -> Any:
        """Returns a buffer with T positions replaced from `index` on.

        NOTE: not `ops.slice_update`, which is an XLA op on TensorFlow: stock
        TF Serving does not run it. Both pass over the buffer once.
        """
        length = ops.shape(new)[2]
        place = ops.arange(ops.shape(buffer)[2]) - self.index
        inside = ops.logical_and(place >= 0, place < length)
        new = ops.cast(new, buffer.dtype)
        if new.shape[2] != 1:
            new = ops.take(new, ops.clip(place, 0, length - 1), axis=2)
        return ops.where(inside[None, None, :, None], new, buffer)
