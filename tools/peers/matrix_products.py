"""Times the matrix products of a training step in isolation.

No library can take a step in less time with the same products, so this tells
how much of a step is left to do better. Each product of the traced step is run
alone with operands of its shapes; products of equal shapes are timed once.
"""

import collections
import time
from typing import Any

import tensorflow as tf

_OPS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")
# Attributes that change what is multiplied.
_ATTRIBUTES = (
    "transpose_a",
    "transpose_b",
    "adj_x",
    "adj_y",
    "equation",
)
_REPEATS = 5

# Op, attributes, and dtype and shape of each operand.
Product = tuple[
    str, tuple[tuple[str, Any], ...], tuple[tuple[str, tuple[int, ...]], ...]
]


def seconds_of_products(function: Any) -> float:
    """Returns the seconds that the matrix products of a function take alone.

    Args:
        function: A concrete function with static shapes.

    Raises:
        ValueError: An operand's shape is not known.
    """
    return sum(
        count * _seconds(product)
        for product, count in count_products(function.graph).items()
    )


def count_products(graph: Any) -> "collections.Counter[Product]":
    """Returns how often a graph, and what it calls, has each product.

    Args:
        graph: A tf.Graph. Bodies of loops count once.

    Raises:
        ValueError: An operand's shape is not known.
    """
    found: collections.Counter[Product] = collections.Counter()
    for op in graph.get_operations():
        if op.type in _OPS and len(op.inputs) == 2:
            found[_product(op)] += 1
        for attribute in op.node_def.attr.values():
            if attribute.func.name:
                called = graph._get_function(attribute.func.name)
                found += count_products(called.graph)
    return found


def _product(op: Any) -> Product:
    operands = []
    for operand in op.inputs:
        if not operand.shape.is_fully_defined():
            raise ValueError(
                f"operands of {op.name} must have known shapes. Received: "
                f"{operand.shape}"
            )
        operands.append((operand.dtype.name, tuple(operand.shape)))
    known = op.node_def.attr
    attributes = tuple(
        (name, op.get_attr(name)) for name in _ATTRIBUTES if name in known
    )
    return op.type, attributes, tuple(operands)


def _seconds(product: Product) -> float:
    """Returns the least seconds of one product."""
    op, attributes, operands = product
    left, right = (
        tf.cast(tf.random.normal(shape), dtype) for dtype, shape in operands
    )
    options = dict(attributes)

    @tf.function(autograph=False)
    def multiply(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        if op == "Einsum":
            return tf.einsum(options["equation"].decode(), left, right)
        transposed = {
            "transpose_a": options.get("transpose_a", options.get("adj_x")),
            "transpose_b": options.get("transpose_b", options.get("adj_y")),
        }
        return tf.matmul(left, right, **transposed)

    multiply(left, right)
    taken = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        multiply(left, right)
        taken.append(time.perf_counter() - began)
    return min(taken)
