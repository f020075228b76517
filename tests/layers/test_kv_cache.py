import numpy as np
from keras import ops

from tfllm.layers import Attention, AttentionConfig, Cache, KVCache, Memory
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


def whole_cache() -> Cache:
    """Three rows of two layers, whose numbers say the row."""
    cache = Cache.create(2, 3, 5, num_kv_heads=1, head_dim=2)
    rows = np.arange(3, dtype="float32")[:, None, None, None]
    new = np.broadcast_to(rows, (3, 1, 4, 2))
    layers = [cache.layer(i).append(new + i, -new - i) for i in range(2)]
    memory = Memory(new + 10, new + 20)
    mask = np.eye(3, 4, dtype=bool)
    return cache.updated(layers)._replace(
        memory=(memory, memory), memory_mask=mask
    )


def first_numbers(buffers: tuple[object, ...]) -> list[list[float]]:
    return [ops.convert_to_numpy(b)[:, 0, 0, 0].tolist() for b in buffers]


def test_the_cache_of_a_decoder_knows_its_length() -> None:
    cache = whole_cache()
    assert int(cache.length) == 4
    assert cache.capacity == 5
    cropped = cache.crop(2)
    assert int(cropped.length) == 2
    new = np.full((3, 1, 1, 2), 9.0, "float32")
    keys = ops.convert_to_numpy(cropped.layer(0).append(new, new).keys)
    np.testing.assert_array_equal(keys[1, 0, :, 0], [1, 1, 9, 1, 0])


def test_rows_of_a_cache() -> None:
    cache = whole_cache().take_rows(np.array([2, 2, 0], "int32"))
    assert first_numbers(cache.keys) == [[2, 2, 0], [3, 3, 1]]
    assert first_numbers(cache.values) == [[-2, -2, 0], [-3, -3, -1]]
    assert first_numbers(cache.memory[1]) == [[12, 12, 10], [22, 22, 20]]
    mask = ops.convert_to_numpy(cache.memory_mask)
    np.testing.assert_array_equal(mask, np.eye(3, 4, dtype=bool)[[2, 2, 0]])
    assert int(cache.length) == 4


def test_beams_leave_what_is_read_of_the_source() -> None:
    cache = whole_cache().reorder(np.array([1, 0, 2], "int32"))
    assert first_numbers(cache.keys) == [[1, 0, 2], [2, 1, 3]]
    assert first_numbers(cache.memory[0]) == [[10, 11, 12], [20, 21, 22]]


def test_memory_is_what_attention_computes_of_a_source() -> None:
    layer = Attention(
        AttentionConfig(12, 4, num_kv_heads=2, initializer_range=0.5)
    )
    layer.build()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 12)).astype("float32")
    source = rng.normal(size=(2, 5, 12)).astype("float32")
    found, _ = layer(x, memory=layer.read(source))
    expected, _ = layer(source, queries_from=x)
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), ops.convert_to_numpy(expected), atol=1e-6
    )
