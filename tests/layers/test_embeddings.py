from typing import Any

import numpy as np
import pytest
from keras import ops

from tfllm.layers import (
    EmbeddingConfig,
    Embeddings,
    LearnedPositionsConfig,
    NormConfig,
)


def build(**options: Any) -> Embeddings:
    layer = Embeddings(EmbeddingConfig(11, 4, **options))
    layer.build()
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return layer


def value(variable: Any) -> np.ndarray:
    return np.asarray(variable.value)


TOKENS = np.array([[1, 5, 10], [0, 0, 3]], "int32")
SEGMENTS = np.array([[0, 1, 1], [0, 0, 0]], "int32")


def test_tokens_alone() -> None:
    layer = build()
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(TOKENS)), value(layer.token_table)[TOKENS]
    )
    assert len(layer.trainable_variables) == 1


def test_sum_of_three_tables() -> None:
    layer = build(positions=LearnedPositionsConfig(6), num_segments=2)
    expected = (
        value(layer.token_table)[TOKENS]
        + value(layer.positions.table)[:3]
        + value(layer.segment_table)[SEGMENTS]
    )
    y = layer(TOKENS, segment_ids=SEGMENTS)
    np.testing.assert_allclose(ops.convert_to_numpy(y), expected, atol=1e-6)


def test_no_segments_means_the_first() -> None:
    layer = build(num_segments=2)
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(TOKENS)),
        ops.convert_to_numpy(layer(TOKENS, segment_ids=0 * SEGMENTS)),
        atol=1e-6,
    )


def test_norm_comes_last() -> None:
    layer = build(num_segments=2, norm=NormConfig(4))
    layer.norm.scale.assign(np.ones(4))
    layer.norm.bias.assign(np.zeros(4))
    y = ops.convert_to_numpy(layer(TOKENS, segment_ids=SEGMENTS))
    np.testing.assert_allclose(y.mean(-1), 0.0, atol=1e-6)
    np.testing.assert_allclose(y.std(-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("projection", ["tokens", "sum"])
def test_a_width_of_its_own(projection: str) -> None:
    width = 3 if projection == "sum" else 4
    layer = build(
        embedding_size=3,
        projection=projection,
        scale=2.0,
        positions=LearnedPositionsConfig(6),
    )
    assert value(layer.positions.table).shape == (6, width)
    x = 2.0 * value(layer.token_table)[TOKENS]
    kernel, bias = layer.projection.kernel, layer.projection.bias
    positions = value(layer.positions.table)[:3]
    if projection == "tokens":
        expected = x @ value(kernel) + value(bias) + positions
    else:
        expected = (x + positions) @ value(kernel) + value(bias)
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(TOKENS)), expected, atol=1e-5
    )


def test_the_table_of_another_stack() -> None:
    layer = build(has_token_table=False)
    assert not layer.trainable_variables
    table = np.random.default_rng(0).normal(size=(11, 4)).astype("float32")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(TOKENS, token_table=table)), table[TOKENS]
    )


def test_widths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"`embedding_size`.*3 and 4"):
        EmbeddingConfig(11, 4, embedding_size=3)
    with pytest.raises(ValueError, match=r"`norm`.*sum, 3.*4"):
        EmbeddingConfig(11, 4, 3, "sum", norm=NormConfig(4))


def test_shared_tables() -> None:
    """Each has a projection of its own, on one normalized sum."""
    options: dict[str, Any] = {
        "embedding_size": 6,
        "projection": "sum",
        "positions": LearnedPositionsConfig(8),
        "num_segments": 2,
        "norm": NormConfig(6),
    }
    first = build(**options)
    second = Embeddings(EmbeddingConfig(11, 2, **options))
    second.share_tables(first)
    second.build()
    assert len(first.trainable_variables) == 7
    own = {id(v) for v in second.trainable_variables}
    assert len(own - {id(v) for v in first.trainable_variables}) == 2
    assert first.projection is not None
    assert second.projection is not None
    first.projection.kernel.assign(np.eye(6, 4))
    second.projection.kernel.assign(np.eye(6, 2))
    np.testing.assert_allclose(
        ops.convert_to_numpy(first(TOKENS, segment_ids=SEGMENTS))[..., :2]
        - value(first.projection.bias)[:2],
        ops.convert_to_numpy(second(TOKENS, segment_ids=SEGMENTS)),
        atol=1e-5,
    )


def test_tables_of_another_size_are_not_shared() -> None:
    other = Embeddings(EmbeddingConfig(12, 4))
    with pytest.raises(ValueError, match="`other` must have the tables.*11"):
        other.share_tables(build())
