"""How the weights of an export lie on disk.

Whatever they are stored as, they are float32 where they are used: a stored
weight is turned into a float32 one when a server loads the model, once, and
not with each request. So a smaller file costs accuracy and no time.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

Precision = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["none", "int8"]
PRECISIONS = ("float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "int8")


@dataclasses.dataclass(frozen=True)
class StoredWeight:
    """What is kept of one weight.

    Attributes:
        name: Path of the variable.
        value: In the dtype that is stored.
        scale: float32, multiplies it; None if nothing does.
    """

    name: str
    value: Any
    scale: np.ndarray | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes on disk."""
        scale = 0 if self.scale is None else self.scale.nbytes
        return self.value.nbytes + scale

    def restore(self, value: Any, scale: Any) -> tf.Tensor:
        """Returns the float32 weight, of stored tensors in the graph."""
        restored = tf.cast(value, tf.float32)
        return restored if scale is None else restored * scale


def store(
    name: str, value: np.ndarray, precision: Precision, quantize: Quantization
) -> StoredWeight:
    """Returns what is kept of a weight.

    Args:
        name: Path of the variable.
        value: float32.
        precision: Dtype of what is not quantized.
        quantize: "int8" for matrices and tables.
    """
    if quantize == "int8" and value.ndim == 2:
        # One scale for each output; in a table, for each row.
        axis = 1 if name.endswith("_table") else 0
        scale = np.abs(value).max(axis=axis, keepdims=True) / 127.0
        scale = np.maximum(scale, np.finfo(np.float32).tiny)
        whole = np.rint(value / scale).astype(np.int8)
        return StoredWeight(name, whole, scale.astype(np.float32))
    if precision != "float32":
        dtype = tf.as_dtype(precision).as_numpy_dtype
        return StoredWeight(name, value.astype(dtype))
    return StoredWeight(name, value)


def store_all(
    weights: Sequence[Any], precision: Precision, quantize: Quantization
) -> list[StoredWeight]:
    """Stores Keras variables, and gives them the values that are kept.

    So the task in Python answers as the export does.

    Args:
        weights: The variables, changed in place.
        precision: See `store`.
        quantize: See `store`.

    Raises:
        ValueError: A weight is not finite any more.
    """
    found = []
    for weight in weights:
        value = np.asarray(weight.value, np.float32)
        stored = store(weight.path, value, precision, quantize)
        found.append(stored)
        if stored.value is value:
            continue
        restored = stored.restore(stored.value, stored.scale).numpy()
        if not np.isfinite(restored).all():
            raise ValueError(
                f"`precision` must hold all weights. Received: {precision!r}, "
                f"which does not hold {weight.path} of up to "
                f"{np.abs(value).max():g}. Use bfloat16."
            )
        weight.assign(restored)
    return found


class Restored(tf.saved_model.experimental.TrackableResource):
    """A float32 weight that is worked out when the model is loaded.

    Args:
        stored: What is kept of it.
        value: Its stored tensor, a variable.
        scale: That of its scale, or None.
        key: Tells the weights of different exports apart in one process.
    """

    def __init__(
        self,
        stored: StoredWeight,
        value: tf.Variable,
        scale: tf.Variable | None,
        key: str,
    ) -> None:
        """See the class."""
        super().__init__()
        self._name = f"{stored.name}-{key}"
        self._shape = stored.value.shape
        self._restore = lambda: stored.restore(value, scale)
        self._initialize()

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=self._shape, shared_name=self._name
        )

    def _initialize(self) -> None:
        tf.raw_ops.AssignVariableOp(
            resource=self.resource_handle, value=self._restore()
        )

    def read(self) -> tf.Tensor:
        """Returns the weight."""
        value = tf.raw_ops.ReadVariableOp(
            resource=self.resource_handle, dtype=tf.float32
        )
        return tf.ensure_shape(value, self._shape)


class Weights(tf.Module):
    """The stored weights of an export as variables, each of them once.

    Args:
        stored: What is kept.
    """

    def __init__(self, stored: Sequence[StoredWeight]) -> None:
        """See the class."""
        super().__init__(name="weights")
        self.variables_by_name: dict[str, tf.Variable] = {}
        self.restored: list[Restored] = []
        self._readers: list[Any] = []
        digest = hashlib.sha256()
        for weight in stored:
            digest.update(weight.value.tobytes())
        for weight in stored:
            variable = self._variable(weight.name, weight.value)
            if weight.value.dtype == np.float32:
                self._readers.append(variable.read_value)
                continue
            scale = None
            if weight.scale is not None:
                scale = self._variable(f"{weight.name}_scale", weight.scale)
            restored = Restored(weight, variable, scale, digest.hexdigest()[:8])
            self.restored.append(restored)
            self._readers.append(restored.read)

    def read(self) -> list[tf.Tensor]:
        """Returns the float32 weights, in the order in which they came."""
        return [reader() for reader in self._readers]

    def _variable(self, name: str, value: Any) -> tf.Variable:
        variable = tf.Variable(value, trainable=False, name=name)
        self.variables_by_name[name] = variable
        return variable
