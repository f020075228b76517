import numpy as np
from keras import ops

from tfllm.layers import (
    DetectionHead,
    DetectionHeadConfig,
    MaskedLMHead,
    MaskedLMHeadConfig,
    NormConfig,
    Pooler,
    PoolerConfig,
)

X = np.random.default_rng(1).normal(size=(2, 5, 4)).astype("float32")
TABLE = np.random.default_rng(2).normal(size=(9, 3)).astype("float32")


def build_head(dtype: str = "float32") -> MaskedLMHead:
    head = MaskedLMHead(
        MaskedLMHeadConfig(
            hidden_size=4,
            embedding_size=3,
            vocab_size=9,
            norm=NormConfig(3),
            activation="relu",
        ),
        dtype=dtype,
    )
    head.build()
    rng = np.random.default_rng(0)
    for variable in head.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return head


def test_pooler_is_tanh_of_the_first_token() -> None:
    pooler = Pooler(PoolerConfig(4))
    pooler.build()
    pooler.dense.bias.assign(np.arange(4) / 4)
    expected = np.tanh(
        X[:, 0] @ np.asarray(pooler.dense.kernel.value) + np.arange(4) / 4
    )
    y = ops.convert_to_numpy(pooler(X))
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_logits_equal_numpy() -> None:
    head = build_head()
    x = X @ np.asarray(head.dense.kernel.value)
    x = np.maximum(x + np.asarray(head.dense.bias.value), 0)
    x = ops.convert_to_numpy(head.norm(x))
    expected = x @ TABLE.T + np.asarray(head.bias.value)
    y = ops.convert_to_numpy(head(X, token_table=TABLE))
    assert y.shape == (2, 5, 9)
    np.testing.assert_allclose(y, expected, atol=1e-4, rtol=1e-5)


def test_logits_are_float32_under_bfloat16() -> None:
    head = build_head("mixed_bfloat16")
    y = head(ops.cast(X, "bfloat16"), token_table=ops.cast(TABLE, "bfloat16"))
    assert "float32" in str(y.dtype)


def test_detection_equals_numpy() -> None:
    head = DetectionHead(DetectionHeadConfig(4, activation="tanh"))
    head.build()
    rng = np.random.default_rng(0)
    for variable in head.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    x = X
    for layer, activate in (
        (head.dense, np.tanh),
        (head.classifier, lambda y: y),
    ):
        kernel, bias = layer.kernel.value, layer.bias.value
        x = activate(x @ np.asarray(kernel) + np.asarray(bias))
    y = ops.convert_to_numpy(head(X))
    assert y.shape == (2, 5)
    np.testing.assert_allclose(y, x[..., 0], atol=1e-5)


def test_detection_is_float32_under_bfloat16() -> None:
    head = DetectionHead(DetectionHeadConfig(4), dtype="mixed_bfloat16")
    assert "float32" in str(head(ops.cast(X, "bfloat16")).dtype)
