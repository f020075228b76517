"""Stores the weights of an export in float32, bfloat16, float16 or int8.

The model computes in float32: a server converts each weight once, when it loads
the model, and not with each request. So a smaller file costs accuracy, but no
time.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.serving.export_config import Precision, Quantization


@dataclasses.dataclass(frozen=True)
class StoredWeight:
    """A weight as stored.

    Attributes:
        name: Path of the variable.
        value: Array in the stored dtype.
        scale: float32 factor; None without one.
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
        """Returns the float32 weight for stored tensors in the graph."""
        restored = tf.cast(value, tf.float32)
        return restored if scale is None else restored * scale


def store(
    name: str, value: np.ndarray, precision: Precision, quantize: Quantization
) -> StoredWeight:
    """Returns a weight as it is stored.

    Args:
        name: Path of the variable.
        value: float32 array.
        precision: Dtype of weights that are not quantized.
        quantize: "int8" for matrices and tables.
    """
    if quantize == "int8" and value.ndim == 2:
        # A scale for each output of a matrix, and for each row of a table.
        axis = 1 if name.endswith("_table") else 0
        scale = np.abs(value).max(axis=axis, keepdims=True) / 127.0
        scale = np.maximum(scale, np.finfo(np.float32).tiny)
        rounded = np.rint(value / scale).astype(np.int8)
        return StoredWeight(name, rounded, scale.astype(np.float32))
    if precision != "float32":
        dtype = tf.as_dtype(precision).as_numpy_dtype
        return StoredWeight(name, value.astype(dtype))
    return StoredWeight(name, value)


def store_all(
    weights: Sequence[Any], precision: Precision, quantize: Quantization
) -> list[StoredWeight]:
    """Stores Keras variables and assigns the stored values to them.

    So the task in Python answers as the export does.

    Args:
        weights: Variables, which are changed in place.
        precision: Dtype of weights that are not quantized.
        quantize: "int8" for matrices and tables, or "none".

    Raises:
        ValueError: A weight overflows in this precision.
    """
    stored_weights = []
    for weight in weights:
        value = np.asarray(weight.value, np.float32)
        stored = store(weight.path, value, precision, quantize)
        stored_weights.append(stored)
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
    return stored_weights


class Restored(tf.saved_model.experimental.TrackableResource):
    """A float32 weight that is computed when the model is loaded.

    Args:
        stored: The weight as stored.
        value: Variable with the stored array.
        scale: Variable with the scale, or None.
        key: Distinguishes weights of different exports in one process.
    """

    def __init__(
        self,
        stored: StoredWeight,
        value: tf.Variable,
        scale: tf.Variable | None,
        key: str,
    ) -> None:
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
    """The stored weights of an export as variables.

    Args:
        stored: The weights, each once.
    """

    def __init__(self, stored: Sequence[StoredWeight]) -> None:
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
        """Returns the float32 weights, in the order of `stored`."""
        return [reader() for reader in self._readers]

    def _variable(self, name: str, value: Any) -> tf.Variable:
        variable = tf.Variable(value, trainable=False, name=name)
        self.variables_by_name[name] = variable
        return variable
