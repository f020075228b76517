import numpy as np
import pytest
from keras import ops

from tfllm.layers import Norm, NormConfig


def random_norm(kind: str, dtype: str = "float32") -> Norm:
    layer = Norm(NormConfig(6, kind=kind, epsilon=1e-3), dtype=dtype)
    layer.build()
    rng = np.random.default_rng(0)
    for variable in layer.weights:
        variable.assign(rng.normal(size=6))
    return layer


def test_layer_norm_equals_numpy() -> None:
    layer = random_norm("layer_norm")
    x = np.random.default_rng(1).normal(2, 3, (2, 5, 6)).astype("float32")
    mean = x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-3)
    expected = expected * np.asarray(layer.scale.value) + np.asarray(
        layer.bias.value
    )
    y = ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_rms_norm_equals_numpy() -> None:
    layer = random_norm("rms_norm")
    assert layer.bias is None
    x = np.random.default_rng(1).normal(2, 3, (2, 5, 6)).astype("float32")
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3)
    expected = expected * np.asarray(layer.scale.value)
    y = ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_without_scale_and_bias(kind: str) -> None:
    layer = Norm(NormConfig(6, kind=kind, epsilon=1e-3, affine=False))
    layer.build()
    assert not layer.weights
    x = np.random.default_rng(1).normal(2, 3, (2, 5, 6)).astype("float32")
    center = x.mean(-1, keepdims=True) if kind == "layer_norm" else 0.0
    square = ((x - center) ** 2).mean(-1, keepdims=True)
    y = ops.convert_to_numpy(layer(x))
    expected = (x - center) / np.sqrt(square + 1e-3)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_statistics_are_float32_under_bfloat16(kind: str) -> None:
    # In bfloat16 the squares would overflow no sooner, but 256 + 1 is 256.
    x = np.full((1, 6), 256.0) + np.arange(6) * 2
    low = random_norm(kind, "mixed_bfloat16")
    y = low(ops.cast(x, "bfloat16"))
    assert str(y.dtype).endswith("bfloat16") or "bfloat16" in str(y.dtype)
    expected = random_norm(kind)(ops.cast(x, "float32"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(y, "float32")),
        ops.convert_to_numpy(expected),
        rtol=1e-2,
        atol=1e-2,
    )


def test_bad_epsilon_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`epsilon`.*Received: 0"):
        NormConfig(6, epsilon=0.0)
    with pytest.raises(ValueError, match=r"`kind`.*Received: 'batch'"):
        NormConfig(6, kind="batch")
