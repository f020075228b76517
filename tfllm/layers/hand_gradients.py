"""Functions whose gradients are written by hand.

Automatic differentiation keeps more intermediate tensors, and passes over
them more often, than these gradients need. Elementwise work is bound by
memory, so fewer passes save time as well as space.
"""

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from tfllm.layers.fused import fused

_SQRT_HALF = math.sqrt(0.5)
_INVERSE_SQRT_2_PI = 1.0 / math.sqrt(2.0 * math.pi)
_TANH_A = 2.0 * math.sqrt(2.0 / math.pi)
_TANH_B = 0.044715 * _TANH_A


def _upstream(args: tuple[Any, ...], upstream: Any) -> Any:
    """Returns the incoming gradient, which backends pass differently."""
    return args[0] if upstream is None else upstream


def gelu(x: Any, training: bool = False) -> Any:
    """Returns x * Phi(x) with the exact normal distribution function.

    d/dx = Phi(x) + x * phi(x), computed from x, the only tensor kept.

    Args:
        x: float, any shape.
        training: A gradient will be computed; see `fused`.

    Reference: Hendrycks and Gimpel, 2016, section 2.
    """
    return _elementwise(_gelu, _gelu_gradient, training)(x)


def _gelu(x: Any) -> Any:
    return x * _cdf(x)


def _gelu_gradient(x: Any, dy: Any) -> Any:
    density = ops.exp(ops.square(x) * -0.5) * _INVERSE_SQRT_2_PI
    return (density * x + _cdf(x)) * dy


def _cdf(x: Any) -> Any:
    """Returns Phi(x)."""
    return ops.erf(x * _SQRT_HALF) * 0.5 + 0.5


def gelu_tanh(x: Any, training: bool = False) -> Any:
    """Returns GELU with the tanh approximation of Phi.

    (1 + tanh(u)) / 2 is s = sigmoid(2 u), which takes fewer passes. With
    2 u = x (a + b x^2), y is x s and dy/dx is s + y (1 - s) (a + 3 b x^2).

    Args:
        x: float, any shape.
        training: A gradient will be computed; see `fused`.

    Reference: Hendrycks and Gimpel, 2016, section 2.
    """
    return _elementwise(_gelu_tanh, _gelu_tanh_gradient, training)(x)


def _gelu_tanh(x: Any) -> Any:
    return x * _gate(x)


def _gelu_tanh_gradient(x: Any, dy: Any) -> Any:
    s = _gate(x)
    slope = ops.square(x) * (3.0 * _TANH_B) + _TANH_A
    return (x * s * (1.0 - s) * slope + s) * dy


def _gate(x: Any) -> Any:
    """Returns s of `gelu_tanh`."""
    return ops.sigmoid(x * (ops.square(x) * _TANH_B + _TANH_A))


def _elementwise(
    function: Callable[[Any], Any],
    gradient: Callable[[Any, Any], Any],
    training: bool,
) -> Callable[[Any], Any]:
    """Returns `function` with its gradient, fused for training.

    Args:
        function: x -> y.
        gradient: x and dy -> dx.
        training: As in `gelu`.
    """
    forward = fused(function) if training else function

    @ops.custom_gradient
    def call(x: Any) -> Any:
        def backward(*args: Any, upstream: Any = None) -> Any:
            back = fused(gradient) if training else gradient
            return back(x, _upstream(args, upstream))

        return forward(x), backward

    return call


def linear_map(function: Callable[[Any], Any], x: Any) -> Any:
    """Returns function(x), and uses the function for the gradient as well.

    Args:
        function: A product with a diagonal matrix, such as dropout.
        x: float, any shape.
    """

    @ops.custom_gradient
    def call(x: Any) -> Any:
        def backward(*args: Any, upstream: Any = None) -> Any:
            return function(_upstream(args, upstream))

        return function(x), backward

    return call(x)


def softmax(scores: Any) -> Any:
    """Returns the softmax of the last axis, without a warning for one element.

    Keras warns of an axis of size one, but a text may be that short.

    Args:
        scores: float [..., S].
    """
    return (
        ops.ones_like(scores) if scores.shape[-1] == 1 else ops.softmax(scores)
    )


def attend_with_dropout(
    scores: Any, values: Any, drop: Callable[..., Any]
) -> Any:
    """Returns softmax(scores), with dropout, times the values.

    With p the softmax, m the scaled mask of the dropout, c the result and dy
    its gradient, that of the scores is p * (m * (dy @ values^T) - sum(dy * c)).
    Only p and c are kept.

    Args:
        scores: float32 [..., T, S].
        values: float [..., S, H].
        drop: Multiplies a tensor like scores with m; see `Dropout.draw`.

    Returns:
        float [..., T, H], as values.

    Reference: Srivastava et al., 2014; Vaswani et al., 2017, section 5.4;
    Dao et al., 2022, appendix B.4 (the sum).
    """

    @ops.custom_gradient
    def attend(scores: Any, values: Any) -> Any:
        p = softmax(scores)
        context = ops.matmul(ops.cast(drop(p), values.dtype), values)

        def gradient(*args: Any, upstream: Any = None) -> Any:
            dy = _upstream(args, upstream)
            total = ops.sum(
                ops.cast(dy * context, p.dtype), axis=-1, keepdims=True
            )
            d_left = ops.cast(ops.matmul(dy, _turned(values)), p.dtype)
            d_scores = drop(d_left, p, total, followed_by=_softmax_gradient)
            # Dropped again instead of kept from `attend`, to save memory.
            # `followed_by` keeps the graph from merging the two.
            left = drop(p, total, followed_by=_first)
            left = ops.cast(left, dy.dtype)
            return d_scores, ops.matmul(_turned(left), dy)

        return context, gradient

    return attend(scores, values)


def _softmax_gradient(d_p: Any, p: Any, total: Any) -> Any:
    """Returns the gradient of the scores of `attend_with_dropout`."""
    return p * (d_p - total)


def _first(x: Any, _: Any) -> Any:
    return x


def _turned(x: Any) -> Any:
    """Returns x with its last two axes exchanged."""
    return ops.swapaxes(x, -1, -2)


def layer_norm(x: Any, scale: Any, bias: Any, epsilon: float) -> Any:
    """Returns the layer normalization of the last axis.

    With z the normalized x and g = scale * dy, dx is
    (g - mean(g) - z * mean(g * z)) / std; the two means are products of dy
    and dy * z with the vector scale / D.

    Args:
        x: float32 [..., D].
        scale: float32 [D].
        bias: float32 [D].
        epsilon: Added to the variance.

    Returns:
        float32 [..., D].

    Reference: Ba et al., 2016, section 3 and appendix.
    """
    width = x.shape[-1]

    @ops.custom_gradient
    def normalize(x: Any, scale: Any, bias: Any) -> Any:
        centered = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        inverse = ops.rsqrt(variance + epsilon)
        z = centered * inverse

        def gradient(*args: Any, upstream: Any = None) -> Any:
            dy = ops.reshape(_upstream(args, upstream), (-1, width))
            flat = ops.reshape(z, (-1, width))
            dy_z = dy * flat
            column = ops.reshape(scale * (1.0 / width), (-1, 1))
            dx = ops.reshape(inverse, (-1, 1)) * (
                dy * scale
                - ops.matmul(dy, column)
                - flat * ops.matmul(dy_z, column)
            )
            return (
                ops.reshape(dx, ops.shape(x)),
                ops.sum(dy_z, axis=0),
                ops.sum(dy, axis=0),
            )

        return z * scale + bias, gradient

    return normalize(x, scale, bias)


def wide_product(x: Any, kernel: Any) -> Any:
    """Returns x @ kernel, for a kernel with wide rows, on CPU.

    The product of the gradient with kernel^T reads the kernel by columns.
    If its rows are a multiple of 2 KiB long, a column falls into few sets of
    the CPU cache, and a transposed copy is faster.

    Args:
        x: float32 [P, D].
        kernel: float32 [D, F].

    Returns:
        float32 [P, F].
    """

    @ops.custom_gradient
    def product(x: Any, kernel: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            dy = _upstream(args, upstream)
            rows, columns = kernel.shape
            # NOTE: transposed with three axes. TensorFlow would fold the
            # transpose of a matrix into the product again.
            turned = ops.reshape(
                _turned(ops.reshape(kernel, (1, rows, columns))),
                (columns, rows),
            )
            return ops.matmul(dy, turned), ops.matmul(ops.transpose(x), dy)

        return ops.matmul(x, kernel), gradient

    # Reshaped, a variable becomes a tensor, which has a gradient.
    return product(x, ops.reshape(kernel, kernel.shape))


def tied_logits(x: Any, table: Any, bias: Any = None) -> Any:
    """Returns x @ table^T + bias.

    The gradient of the table has the table's own layout. Automatic
    differentiation computes its transpose and transposes that again, one more
    pass over a tensor of the size of the vocabulary.

    Args:
        x: float32 [P, D].
        table: float32 [V, D].
        bias: float32 [V], or None.

    Returns:
        float32 [P, V].
    """

    @ops.custom_gradient
    def product(x: Any, table: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            d_logits = _upstream(args, upstream)
            return (
                ops.matmul(d_logits, table),
                ops.matmul(ops.transpose(d_logits), x),
            )

        return ops.matmul(x, ops.transpose(table)), gradient

    logits = product(x, table)
    return logits if bias is None else logits + bias
