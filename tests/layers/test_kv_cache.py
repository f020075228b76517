import numpy as np
from keras import ops

from tfllm.layers import Attention, AttentionConfig, KVCache
from tfllm.layers.attention import HIDDEN_PENALTY


def test_append_fills_in_order() -> None:
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(2, 3, 5, 4)).astype("float32")
    values = rng.normal(size=(2, 3, 5, 4)).astype("float32")
    cache = KVCache.create(2, 7, num_kv_heads=3, head_dim=4)
    cache = cache.append(keys[:, :, :3], values[:, :, :3])
    cache = cache.append(keys[:, :, 3:], values[:, :, 3:])
    assert int(cache.index) == 5
    for buffer, expected in ((cache.keys, keys), (cache.values, values)):
        buffer = ops.convert_to_numpy(buffer)
        np.testing.assert_array_equal(buffer[:, :, :5], expected)
        np.testing.assert_array_equal(buffer[:, :, 5:], 0)


def test_append_leaves_the_old_cache() -> None:
    cache = KVCache.create(1, 2, 1, 1)
    cache.append(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)))
    assert int(cache.index) == 0
    assert not ops.convert_to_numpy(cache.keys).any()


def test_attention_over_a_cache_equals_the_whole() -> None:
    layer = Attention(
        AttentionConfig(hidden_size=12, num_heads=4, num_kv_heads=2)
    )
    layer.build()
    x = np.random.default_rng(0).normal(size=(2, 5, 12)).astype("float32")
    causal = (1 - np.tri(5, dtype="float32"))[None, None] * HIDDEN_PENALTY
    whole, _ = layer(x, mask_penalty=causal)
    cache = KVCache.create(2, 5, num_kv_heads=2, head_dim=3)
    rows = []
    for i in range(5):
        y, cache = layer(
            x[:, i : i + 1], mask_penalty=causal[:, :, i : i + 1], cache=cache
        )
        rows.append(ops.convert_to_numpy(y))
    np.testing.assert_allclose(
        np.concatenate(rows, 1), ops.convert_to_numpy(whole), atol=1e-6
    )
