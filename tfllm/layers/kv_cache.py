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
        zero = ops.zeros((), dtype="int32")
        start = (zero, zero, self.index, zero)
        return KVCache(
            keys=ops.slice_update(
                self.keys, start, ops.cast(keys, self.keys.dtype)
            ),
            values=ops.slice_update(
                self.values, start, ops.cast(values, self.values.dtype)
            ),
            index=self.index + keys.shape[2],
        )
