import numpy as np
import pytest
from keras import ops

from tfllm.layers import (
    Attention,
    AttentionConfig,
    EmbeddingConfig,
    LearnedPositions,
    LearnedPositionsConfig,
    RelativeBias,
    RelativeBiasConfig,
    SinusoidalPositions,
    SinusoidalPositionsConfig,
)
from tfllm.layers.positions import counted_positions


@pytest.fixture
def layer() -> LearnedPositions:
    config = EmbeddingConfig(11, 4, positions=LearnedPositionsConfig(6))
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
    with pytest.raises(ValueError, match=r"`rows`=6.*7"):
        layer(length=7)


def test_offset_is_the_row_of_position_0() -> None:
    positions = LearnedPositionsConfig(6, offset=2)
    layer = LearnedPositions(EmbeddingConfig(11, 4, positions=positions))
    layer.build()
    table = np.asarray(layer.table.value)
    ids = np.array([[0, 3]], "int32")
    for found, rows in (
        (layer(length=4), table[2:6]),
        (layer(length=2, start=1), table[3:5]),
        (layer(length=2, position_ids=ids), table[ids + 2]),
    ):
        np.testing.assert_array_equal(ops.convert_to_numpy(found), rows)
    with pytest.raises(ValueError, match=r"`rows`=6 and `offset`=2.*length 5"):
        layer(length=5)


def test_positions_counted_from_the_mask() -> None:
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]], "int32")
    expected = np.array([[0, 0, 0, 1, 2], [0, 1, 2, 2, 2]])
    found = ops.convert_to_numpy(counted_positions(mask, 0, 5))
    np.testing.assert_array_equal(found, expected)
    for start, length in ((2, 1), (1, 3), (4, 1)):
        place = ops.convert_to_tensor(start, "int32")
        found = ops.convert_to_numpy(counted_positions(mask, place, length))
        np.testing.assert_array_equal(
            found, expected[:, start : start + length]
        )


@pytest.mark.parametrize("layout", ["halves", "interleaved"])
def test_sinusoidal_positions(layout: str) -> None:
    config = SinusoidalPositionsConfig(layout, offset=1)
    layer = SinusoidalPositions(EmbeddingConfig(11, 6, positions=config))
    layer.build()
    expected = np.zeros((4, 6))
    for place in range(4):
        for i in range(3):
            angle = (place + 1) / 10000.0 ** (2 * i / 6)
            sine, cosine = (i, 3 + i)
            if layout == "interleaved":
                sine, cosine = (2 * i, 2 * i + 1)
            expected[place, sine] = np.sin(angle)
            expected[place, cosine] = np.cos(angle)
    found = ops.convert_to_numpy(layer(length=3, start=1))
    np.testing.assert_allclose(found, expected[1:], atol=1e-6)
    ids = np.array([[0, 2], [3, 1]], "int32")
    found = ops.convert_to_numpy(layer(length=2, position_ids=ids))
    np.testing.assert_allclose(found, expected[ids], atol=1e-6)


def test_sinusoidal_positions_are_those_of_marian() -> None:
    """Rows 1 and 5 of the table of Transformers 5.23, 8 x 6."""
    config = SinusoidalPositionsConfig("halves")
    layer = SinusoidalPositions(EmbeddingConfig(11, 6, positions=config))
    found = ops.convert_to_numpy(layer(length=6))[[1, 5]]
    expected = [
        [0.841471, 0.046399, 0.002154, 0.540302, 0.998923, 0.999998],
        [-0.958924, 0.230002, 0.010772, 0.283662, 0.97319, 0.999942],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sinusoidal_positions_are_those_of_tensor2tensor() -> None:
    """Its `get_timing_signal_1d`: the last wavelength is 2 pi 10000."""
    config = SinusoidalPositionsConfig("halves", reaches_theta=True, offset=2)
    layer = SinusoidalPositions(EmbeddingConfig(11, 6, positions=config))
    rates = np.exp(-np.log(10000.0) * np.arange(3) / 2)
    angles = (2 + np.arange(4))[:, None] * rates
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    found = ops.convert_to_numpy(layer(length=4))
    np.testing.assert_allclose(found, expected, atol=1e-6)


DISTANCES = [-200, -128, -100, -40, -16, -9, -8, -7, -1, 0]
DISTANCES += [1, 7, 8, 9, 16, 40, 100, 127, 128, 200]
# Of `_relative_position_bucket` of T5 in Transformers 5.23.
BUCKETS = {
    (True, 32, 128): [
        *(15, 15, 15, 12, 10, 8, 8, 7, 1, 0),
        *(17, 23, 24, 24, 26, 28, 31, 31, 31, 31),
    ],
    (False, 32, 128): [31, 31, 30, 23, 16, 9, 8, 7, 1, *([0] * 11)],
    (True, 8, 20): [3, 3, 3, 3, 3, 3, 3, 3, 1, 0, 5, *([7] * 9)],
}


@pytest.mark.parametrize("kind", BUCKETS, ids=str)
def test_buckets_of_distances_are_the_published_ones(
    kind: tuple[bool, int, int],
) -> None:
    both, buckets, longest = kind
    layer = RelativeBias(RelativeBiasConfig(2, buckets, longest, both))
    layer.build()
    table = np.arange(2.0 * buckets).reshape(buckets, 2)
    layer.table.assign(table)
    found = ops.convert_to_numpy(layer(length=201, num_keys=401).bias)
    assert found.shape == (1, 2, 201, 401)
    for distance, bucket in zip(DISTANCES, BUCKETS[kind], strict=True):
        query = 200 if distance < 0 else 0
        np.testing.assert_array_equal(
            found[0, :, query, query + distance], table[bucket]
        )
    one = ops.convert_to_numpy(layer(length=1, num_keys=401, start=9).bias)
    np.testing.assert_array_equal(one[0, :, 0], found[0, :, 9])


def test_bias_is_added_to_the_scores() -> None:
    layer = Attention(AttentionConfig(4, 2, initializer_range=0.5))
    layer.build()
    bias = RelativeBias(RelativeBiasConfig(2, 8, 20, initializer_range=0.5))
    bias.build()
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    terms = bias(length=5, num_keys=5)
    expected = ops.convert_to_numpy(
        layer(x, mask_penalty=-terms.bias)[0]  # a penalty is taken off
    )
    found = ops.convert_to_numpy(layer(x, positions=terms)[0])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    chosen = np.array([[4, 0], [1, 1]], "int32")
    rows = np.take_along_axis(x, chosen[..., None], axis=1)
    some, _ = layer(x, queries_from=rows, positions=terms.at(chosen))
    np.testing.assert_allclose(
        ops.convert_to_numpy(some),
        np.take_along_axis(expected, chosen[..., None], axis=1),
        atol=1e-6,
    )


def test_a_table_of_sinusoids_is_not_trained() -> None:
    positions = LearnedPositionsConfig(7, sinusoidal=True)
    layer = LearnedPositions(EmbeddingConfig(11, 6, positions=positions))
    layer.build()
    assert not layer.trainable_variables
    fixed = SinusoidalPositionsConfig("interleaved")
    expected = SinusoidalPositions(EmbeddingConfig(11, 6, positions=fixed))
    np.testing.assert_allclose(
        np.asarray(layer.table.value),
        ops.convert_to_numpy(expected(length=7)),
        atol=1e-6,
    )
    # Another table may stand in a file.
    layer.table.assign(np.ones((7, 6)))
    assert (ops.convert_to_numpy(layer(length=2)) == 1).all()
    with pytest.raises(ValueError, match=r"even width.*: 5"):
        EmbeddingConfig(11, 5, positions=positions)
