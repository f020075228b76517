"""Elementwise functions that pass over memory once, on CPU.

TensorFlow runs one operation after the other, so x * Phi(x) passes over
memory five times, and its gradient ten times. XLA fuses each into one loop.
Whole steps gain little from XLA on CPU, where its matrix products are slower
than TensorFlow's own, so only the functions that gain are compiled.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras


@functools.cache
def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors with XLA where `on_cpu`.

    NOTE: never in what is exported: a served program must not need XLA.

    Args:
        function: Takes tensors, and numbers that become float32 scalars.
            Returns tensors, by operations of Keras, without side effects.
    """

    @functools.cache
    def compiled(signature: tuple[Any, ...]) -> Any:
        import tensorflow as tf

        return tf.function(
            function,
            input_signature=[tf.TensorSpec(*spec) for spec in signature],
            autograph=False,
            jit_compile=True,
        )

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        if not on_cpu():
            return function(*args)
        import tensorflow as tf

        tensors = [
            tf.constant(x) if isinstance(x, float) else tf.convert_to_tensor(x)
            for x in args
        ]
        # One function per signature instead of one that is traced again:
        # static shapes stay known, and layers share compiled code.
        return compiled(tuple((x.shape, x.dtype) for x in tensors))(*tensors)

    return call


def on_cpu() -> bool:
    """Returns whether the backend is TensorFlow and has only CPUs."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    devices = tf.config.list_logical_devices()
    return all(device.device_type == "CPU" for device in devices)
