"""Relative attention against NumPy, pair by pair."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.layers import AttentionConfig
from tfllm.layers.relative_attention import (
    Distances,
    RelativeAttention,
    by_key,
    distance_sinusoids,
)

B, T, M, N, H = 2, 5, 3, 2, 4
S, D = T + M, N * H
CONFIG = AttentionConfig(D, N, use_bias=False, initializer_range=0.5)


def sinusoid(distance: int) -> np.ndarray:
    """float [D]: sines, then cosines."""
    waves = 10000.0 ** (-2.0 * np.arange(D // 2) / D)
    return np.concatenate([np.sin(distance * waves), np.cos(distance * waves)])


@pytest.mark.parametrize("start", [0, 3])
def test_rows_are_distances(start: int) -> None:
    rows = distance_sinusoids(D, T, S, start, clamp_distance=4)
    for i in range(T):
        for j in range(S):
            distance = np.clip(start + i - j, -4, 4)
            np.testing.assert_allclose(
                ops.convert_to_numpy(rows)[T - i + j],
                sinusoid(distance),
                atol=1e-6,
            )


def test_scores_by_key() -> None:
    scores = np.random.default_rng(0).normal(size=(B, N, T, T + S))
    scores = scores.astype("float32")
    rows, columns = np.indices((T, S))
    expected = scores[:, :, rows, T - rows + columns]
    np.testing.assert_array_equal(by_key(scores, S), expected)
    queries = np.array([[0, 4, 2], [3, 3, 1]], "int32")
    few = np.stack([row[:, q] for row, q in zip(scores, queries, strict=True)])
    expected = np.stack(
        [row[:, q] for row, q in zip(expected, queries, strict=True)]
    )
    np.testing.assert_array_equal(by_key(few, S, queries), expected)


@pytest.fixture
def layer() -> RelativeAttention:
    keras.utils.set_random_seed(0)
    layer = RelativeAttention(CONFIG)
    layer.build()
    return layer


def expected_output(
    layer: RelativeAttention, keys: np.ndarray, segments: np.ndarray
) -> np.ndarray:
    """float [B, T, D], from loops; the first M keys are of the past."""
    w = {v.name: np.asarray(v.value) for v in layer.weights}
    x = keys[:, M:]
    q = np.einsum("btd,dnh->btnh", x, w["query_kernel"])
    k = np.einsum("bsd,dnh->bsnh", keys, w["key_kernel"])
    v = np.einsum("bsd,dnh->bsnh", keys, w["value_kernel"])
    outputs = np.zeros_like(x)
    for b, i, n in np.ndindex(B, T, N):
        scores = np.zeros(S)
        for j in range(S):
            r = np.einsum(
                "d,dh->h", sinusoid(M + i - j), w["distance_kernel"][:, n]
            )
            same = w["segment_keys"][int(segments[b, M + i] != segments[b, j])]
            scores[j] = (
                (q[b, i, n] + w["content_bias"][n]) @ k[b, j, n]
                + (q[b, i, n] + w["distance_bias"][n]) @ r
                + (q[b, i, n] + w["segment_bias"][n]) @ same[n]
            ) * H**-0.5
        p = np.exp(scores - scores.max())
        context = (p / p.sum()) @ v[b, :, n]
        outputs[b, i] += w["output_kernel"][:, n] @ context
    return outputs


@pytest.mark.parametrize("chosen", [False, True])
def test_attention(layer: RelativeAttention, chosen: bool) -> None:
    rng = np.random.default_rng(1)
    keys = rng.normal(size=(B, S, D)).astype("float32")
    segments = rng.integers(0, 2, (B, S))
    differ = segments[:, M:, None] != segments[:, None]
    distances = Distances(
        distance_sinusoids(D, T, S, M), differ.astype("float32")
    )
    source, _ = layer.read(keys, distances.sinusoids)
    expected = expected_output(layer, keys, segments)
    x: Any = keys[:, M:]
    if chosen:
        queries = np.array([[4, 0], [2, 3]], "int32")
        distances = distances.at(queries)
        x = np.take_along_axis(x, queries[..., None], axis=1)
        expected = np.take_along_axis(expected, queries[..., None], axis=1)
    outputs = layer(x, source=source, distances=distances)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, atol=1e-5
    )


def test_grouped_heads_are_refused() -> None:
    config = AttentionConfig(D, N, num_kv_heads=1, use_bias=False)
    with pytest.raises(ValueError, match="num_kv_heads=1"):
        RelativeAttention(config)
