from typing import Any

import numpy as np
import pytest
from keras import ops

from tfllm.layers import Attention, AttentionConfig
from tfllm.layers.attention import HIDDEN_PENALTY


def build(**options: Any) -> Attention:
    layer = Attention(AttentionConfig(hidden_size=12, **options))
    layer.build()
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    return layer


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def reference(
    layer: Attention, x: np.ndarray, visible: np.ndarray | None = None
) -> np.ndarray:
    """Attention of one head at a time."""
    c = layer.config
    n, k, h = c.num_heads, c.kv_heads, c.head_size
    qkv = x @ np.asarray(layer.qkv.kernel.value)
    if c.use_bias:
        qkv = qkv + np.asarray(layer.qkv.bias.value)
    heads = np.split(qkv, n + 2 * k, axis=-1)
    outputs = []
    for i in range(n):
        j = i // (n // k)
        scores = heads[i] @ heads[n + j].transpose(0, 2, 1) * c.score_scale
        if visible is not None:
            scores = np.where(visible, scores, -1e9)
        outputs.append(softmax(scores) @ heads[n + k + j])
        assert outputs[-1].shape[-1] == h
    y = np.concatenate(outputs, -1) @ np.asarray(
        layer.output_projection.kernel.value
    )
    if c.use_bias:
        y = y + np.asarray(layer.output_projection.bias.value)
    return y


X = np.random.default_rng(1).normal(size=(2, 5, 12)).astype("float32")


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 3},
        {"num_heads": 6, "num_kv_heads": 2},
        {"num_heads": 4, "num_kv_heads": 1, "use_bias": False},
        {"num_heads": 5, "head_dim": 2},
        {"num_heads": 3, "scale": 1.0},
    ],
    ids=str,
)
def test_equals_numpy(options: dict[str, Any]) -> None:
    layer = build(**options)
    y, cache = layer(X)
    assert cache is None
    np.testing.assert_allclose(
        ops.convert_to_numpy(y), reference(layer, X), atol=2e-6
    )


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_mask_hides_keys(num_kv_heads: int) -> None:
    layer = build(num_heads=4, num_kv_heads=num_kv_heads)
    visible = np.random.default_rng(2).random((2, 5, 5)) < 0.6
    visible |= np.eye(5, dtype=bool)
    penalty = (1 - visible[:, None].astype("float32")) * HIDDEN_PENALTY
    y, _ = layer(X, mask_penalty=penalty)
    np.testing.assert_allclose(
        ops.convert_to_numpy(y), reference(layer, X, visible), atol=2e-6
    )


def test_row_without_visible_keys_is_finite() -> None:
    layer = build(num_heads=3)
    penalty = np.full((2, 1, 1, 5), HIDDEN_PENALTY, "float32")
    y, _ = layer(X, mask_penalty=penalty)
    assert np.isfinite(ops.convert_to_numpy(y)).all()


def test_scores_and_mask_are_not_fused() -> None:
    """On CPU that costs a hundred times the product."""
    tf = pytest.importorskip("tensorflow")
    layer = build(num_heads=3)
    penalty = tf.zeros([1, 1, 5, 5])
    function = tf.function(
        lambda x: layer(x, mask_penalty=penalty)[0], autograph=False
    )
    graph = function.get_concrete_function(tf.TensorSpec([2, 5, 12])).graph
    products = {
        op.name for op in graph.get_operations() if "BatchMat" in op.type
    }
    assert len(products) == 2
    sums = [
        op.name
        for op in graph.get_operations()
        if op.type in ("Add", "AddV2", "BiasAdd")
        and any(value.op.name in products for value in op.inputs)
    ]
    assert not sums


def test_dropout_acts_on_training_only() -> None:
    layer = build(num_heads=3, dropout=0.5)
    plain = ops.convert_to_numpy(layer(X)[0])
    np.testing.assert_allclose(plain, reference(layer, X), atol=2e-6)
    dropped = ops.convert_to_numpy(layer(X, training=True)[0])
    assert np.abs(dropped - plain).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, r"`hidden_size`.*multiple.*num_heads=5"),
        ({"num_heads": 4, "num_kv_heads": 3}, r"`num_kv_heads`.*=3"),
        ({"num_heads": 0}, r"`num_heads`.*Received: 0"),
        ({"num_heads": 3, "dropout": 1.0}, r"`dropout`.*Received: 1"),
    ],
)
def test_bad_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionConfig(hidden_size=12, **options)
