import numpy as np
import pytest
from keras import ops

from tfllm.layers import EmbeddingConfig, LearnedPositions


@pytest.fixture
def layer() -> LearnedPositions:
    config = EmbeddingConfig(11, 4, max_position_embeddings=6)
    layer = LearnedPositions(config)
    layer.build()
    return layer


def test_rows_from_the_start(layer: LearnedPositions) -> None:
    table = np.asarray(layer.table.value)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(length=3)), table[:3]
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(length=2, start=4)), table[4:6]
    )


def test_rows_from_a_start_known_at_run_time(layer: LearnedPositions) -> None:
    start = ops.convert_to_tensor(3, dtype="int32")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(length=2, start=start)),
        np.asarray(layer.table.value)[3:5],
    )


def test_given_positions(layer: LearnedPositions) -> None:
    ids = np.array([[0, 0, 5], [2, 1, 0]], "int32")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(length=3, position_ids=ids)),
        np.asarray(layer.table.value)[ids],
    )


def test_too_long_is_refused(layer: LearnedPositions) -> None:
    with pytest.raises(ValueError, match=r"`max_position_embeddings`=6.*7"):
        layer(length=7)
