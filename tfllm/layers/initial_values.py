"""Initial values of weights, drawn late or never.

A model that is loaded from files needs no random values, and drawing them takes
longer than reading a file. Within `deferred`, weights hold no values until they
are `set_value`; those that never are get their initial ones at the end.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from tfllm.layers import backend

# Draws the values of a shape and a dtype, as initializers of Keras do.
Draw = Callable[..., Any]

# id -> variable without a value and how to draw it; None outside `deferred`.
_pending: contextvars.ContextVar[
    dict[int, tuple[keras.Variable, Draw]] | None
] = contextvars.ContextVar("pending", default=None)


def add_normal(
    layer: keras.Layer,
    name: str,
    shape: tuple[int, ...],
    stddev: float,
    **options: Any,
) -> keras.Variable:
    """Adds a weight of a truncated normal to a layer.

    Args:
        layer: The layer.
        name: Name of the weight.
        shape: Its shape.
        stddev: Standard deviation of the normal before it is cut off at two
            of them.
        **options: Further arguments of `add_weight`.
    """
    normal = keras.initializers.TruncatedNormal(stddev=stddev)
    return add_drawn(layer, name, shape, normal, **options)


def add_drawn(
    layer: keras.Layer,
    name: str,
    shape: tuple[int, ...],
    draw: Draw,
    **options: Any,
) -> keras.Variable:
    """Adds a weight to a layer, with its initial values unless deferred.

    Args:
        layer: The layer.
        name: Name of the weight.
        shape: Its shape.
        draw: Returns the initial values of a shape and a dtype.
        **options: Further arguments of `add_weight`.
    """
    pending = _pending.get()
    variable = layer.add_weight(
        name=name,
        shape=shape,
        initializer=draw if pending is None else backend.no_values,
        **options,
    )
    if pending is not None:
        pending[id(variable)] = variable, draw
    return variable


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Adds weights without values.

    Those that have none at the end are drawn then, as they would have been
    before: with the same seeds.
    """
    pending: dict[int, tuple[keras.Variable, Draw]] = {}
    token = _pending.set(pending)
    try:
        yield
        for variable, draw in list(pending.values()):
            variable.assign(draw(variable.shape, dtype=variable.dtype))
    finally:
        _pending.reset(token)


def are_deferred() -> bool:
    """Returns whether this is within `deferred`."""
    return _pending.get() is not None


def set_value(variable: keras.Variable, value: Any) -> None:
    """Assigns a value to a variable, which may have none yet.

    Args:
        variable: The variable.
        value: Array of its shape. TensorFlow may go on using the memory of a
            NumPy array, so it must not be written to later.
    """
    if isinstance(value, np.ndarray) and value.dtype == variable.dtype:
        value = backend.as_tensor(value)
    variable.assign(value)
    if (pending := _pending.get()) is not None:
        pending.pop(id(variable), None)
