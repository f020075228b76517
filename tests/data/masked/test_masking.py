"""Tests of tfllm.data.masked.masking and tfllm.stateless."""

import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfllm import stateless
from tfllm.data.masked import masking
from tfllm.data.masked.config import MASKING_UNITS, MaskingConfig
from tfllm.data.masked.masking import Masker

_VOCAB, _WIDTH, _ROWS = 1000, 64, 4000
_SPECIAL = np.arange(_VOCAB) < 5  # pad, unk, cls, sep, mask
_CONTINUES = np.arange(_VOCAB) >= 700
_TOKENIZER: Any = types.SimpleNamespace(
    vocab_size=_VOCAB,
    role_id={"mask": 4}.get,
    is_special=_SPECIAL,
    is_continuation=_CONTINUES,
)


def _rows(count: int = _ROWS) -> tuple[np.ndarray, np.ndarray]:
    """[CLS] A [SEP] B [SEP] rows of random lengths."""
    rng = np.random.default_rng(0)
    ids = rng.integers(5, _VOCAB, [count, _WIDTH])
    totals = rng.integers(6, _WIDTH + 1, count)
    column = np.arange(_WIDTH)
    ids[:, 0] = 2
    ids[np.arange(count), totals // 2] = 3
    ids[np.arange(count), totals - 1] = 3
    ids[column >= totals[:, None]] = 0
    return ids.astype(np.int32), totals.astype(np.int32)


def _mask(
    config: MaskingConfig, epoch: int = 0, seed: int = 7, count: int = _ROWS
) -> tuple[np.ndarray, np.ndarray, masking.Masked]:
    ids, totals = _rows(count)
    masker = Masker(config, _TOKENIZER, _WIDTH, seed)
    masked = masker(ids, totals, np.arange(count, dtype=np.int64), epoch)
    return ids, totals, masking.Masked(*(t.numpy() for t in masked))


def _selected(masked: masking.Masked) -> np.ndarray:
    chosen = np.zeros(masked.token_ids.shape, bool)
    for row, (places, used) in enumerate(
        zip(masked.positions, masked.weights > 0, strict=True)
    ):
        chosen[row, places[used]] = True
    return chosen


def _words(ids: np.ndarray) -> np.ndarray:
    """Number of each piece's word in its row; -1 for special tokens."""
    words = np.full(ids.shape, -1)
    for row in range(len(ids)):
        word = -1
        for place, token in enumerate(ids[row]):
            if _SPECIAL[token]:
                continue
            starts = not _CONTINUES[token] or _SPECIAL[ids[row, place - 1]]
            word += starts
            words[row, place] = word
    return words


def _budget(totals: np.ndarray, rate: float, slots: int) -> np.ndarray:
    return np.array([min(slots, max(1, round(int(n) * rate))) for n in totals])


@pytest.mark.parametrize("unit", MASKING_UNITS)
def test_layout_of_a_masked_batch(unit: str) -> None:
    ids, totals, masked = _mask(MaskingConfig(unit=unit))
    chosen = _selected(masked)
    assert masked.positions.shape == (_ROWS, 10)  # ceil(0.15 * 64)
    assert not chosen[_SPECIAL[ids]].any()
    budget = _budget(totals, 0.15, 10)
    assert (chosen.sum(1) <= budget).all()
    # Unchanged elsewhere; labels are the true ids; positions ascend.
    np.testing.assert_array_equal(masked.token_ids[~chosen], ids[~chosen])
    used = masked.weights > 0
    np.testing.assert_array_equal(used.sum(1), chosen.sum(1))
    true = np.take_along_axis(ids, masked.positions, 1)
    np.testing.assert_array_equal(masked.labels, np.where(used, true, 0))
    assert (masked.positions[~used] == 0).all()
    steps = np.diff(masked.positions, axis=1)
    assert (steps[used[:, 1:]] > 0).all()
    assert (np.diff(used.astype(int), axis=1) <= 0).all()


def test_token_masks_fill_the_budget() -> None:
    _, totals, masked = _mask(MaskingConfig())
    np.testing.assert_array_equal(
        masked.weights.sum(1), _budget(totals, 0.15, 10)
    )


def test_token_masks_are_uniform_over_places() -> None:
    ids = np.full([20000, 20], 50, np.int32)
    masker = Masker(MaskingConfig(rate=0.2), _TOKENIZER, 20, 0)
    masked = masker(ids, np.full(20000, 20), np.arange(20000, dtype=np.int64))
    counts = np.bincount(masked.positions.numpy().ravel(), minlength=20)
    expected = 20000 * 4 / 20
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 43.8  # 99.9 % point, 19 degrees of freedom


@pytest.mark.parametrize("unit", MASKING_UNITS)
def test_replacement_shares(unit: str) -> None:
    ids, _, masked = _mask(MaskingConfig(unit=unit))
    chosen = _selected(masked)
    put, true = masked.token_ids[chosen], ids[chosen]
    # A random id may be [MASK] or the true one: 1 in 1000 each.
    for share, expected in (
        ((put == 4).mean(), 0.8 + 0.1 / _VOCAB),
        ((put == true).mean(), 0.1 + 0.1 / _VOCAB),
    ):
        error = 4 * np.sqrt(expected * (1 - expected) / len(put))
        assert abs(share - expected) < error
    random_ids = put[(put != 4) & (put != true)]
    counts = np.bincount(random_ids // 100, minlength=10)
    chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi_square < 27.9  # 99.9 % point, 9 degrees of freedom


@pytest.mark.parametrize("unit", ["whole_word", "span"])
def test_words_are_never_split(unit: str) -> None:
    ids, _, masked = _mask(MaskingConfig(unit=unit), count=1000)
    words, chosen = _words(ids), _selected(masked)
    for row in range(len(ids)):
        inside = set(words[row][chosen[row]])
        outside = set(words[row][~chosen[row]])
        assert not inside & outside


def test_whole_words_are_taken_greedily() -> None:
    ids, totals, masked = _mask(MaskingConfig(unit="whole_word"), count=500)
    keys = stateless.row_keys(7, 0, np.arange(500, dtype=np.int64))
    scores = stateless.draw(keys, masking._ORDER, _WIDTH).numpy() >> 1
    words, chosen = _words(ids), _selected(masked)
    for row, budget in enumerate(_budget(totals, 0.15, 10)):
        taken: set[int] = set()
        filled = 0
        sizes = np.bincount(words[row][words[row] >= 0])
        for word in sorted(
            range(len(sizes)), key=lambda w: -int(scores[row, w])
        ):
            if filled + sizes[word] <= budget:
                filled += sizes[word]
                taken.add(word)
        assert taken == set(words[row][chosen[row]])


def test_span_sizes() -> None:
    config = MaskingConfig(unit="span")
    masker = Masker(config, _TOKENIZER, _WIDTH, 0)
    ids, totals = _rows(1000)
    keys = stateless.row_keys(0, 0, np.arange(1000, dtype=np.int64))
    sizes = masker._span_sizes(keys).numpy()
    shares = np.bincount(sizes.ravel(), minlength=4)[1:] / sizes.size
    np.testing.assert_allclose(shares, [6 / 11, 3 / 11, 2 / 11], atol=0.01)
    # Spans divide each row's words into runs of one to three, and no run
    # goes past a special token.
    maskable = ~_SPECIAL[ids]
    starts = masker._unit_starts(keys, ids, tf.constant(maskable)).numpy()
    words = _words(ids)
    for row in range(len(ids)):
        span = np.cumsum(starts[row])
        for number in range(1, span.max() + 1):
            places = np.flatnonzero((span == number) & maskable[row])
            assert np.ptp(places) == len(places) - 1
            assert len(set(words[row][places])) <= 3
    assert (totals > 0).all()


@pytest.mark.parametrize("unit", MASKING_UNITS)
def test_masks_depend_on_seed_epoch_and_example_only(unit: str) -> None:
    config = MaskingConfig(unit=unit)
    ids, totals = _rows(64)
    masker = Masker(config, _TOKENIZER, _WIDTH, 7)
    numbers = np.arange(64, dtype=np.int64)
    whole = masker(ids, totals, numbers, 3)
    order = np.random.default_rng(1).permutation(64)[:17]
    graph = tf.function(masker)
    part = graph(
        tf.constant(ids[order]),
        tf.constant(totals[order]),
        tf.constant(numbers[order]),
        tf.fill([17], np.int64(3)),
    )
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one.numpy()[order], other)
    for other in (
        masker(ids, totals, numbers, 4),
        masker(ids, totals, numbers + 64, 3),
        Masker(config, _TOKENIZER, _WIDTH, 8)(ids, totals, numbers, 3),
    ):
        same = (whole.token_ids == other.token_ids).numpy()
        assert not same.all(axis=1)[totals > 20].any()


@pytest.mark.parametrize("unit", MASKING_UNITS)
def test_row_of_special_tokens_has_no_weight(unit: str) -> None:
    ids = np.zeros([2, 16], np.int32)
    ids[:, :3] = [2, 3, 3]
    masker = Masker(MaskingConfig(unit=unit), _TOKENIZER, 16, 0)
    masked = masker(ids, np.array([3, 3]), np.arange(2, dtype=np.int64))
    assert not masked.weights.numpy().any()
    np.testing.assert_array_equal(masked.token_ids, ids)


def test_cap_and_slots() -> None:
    config = MaskingConfig(rate=0.5, max_predictions=3, unit="whole_word")
    _, _, masked = _mask(config)
    assert masked.positions.shape == (_ROWS, 3)
    assert masked.weights.sum(1).max() == 3
    assert MaskingConfig().num_slots(128) == 20
    assert MaskingConfig().num_slots(20) == 3
    with pytest.raises(ValueError, match="`max_predictions`.*Received: 9"):
        MaskingConfig(max_predictions=9).num_slots(8)


@pytest.mark.parametrize(
    "values",
    [
        {"rate": 0.0},
        {"rate": 1.0},
        {"max_predictions": 0},
        {"unit": "sentence"},
        {"mask_share": 0.9, "random_share": 0.2},
        {"max_span_words": 0},
    ],
)
def test_bad_settings(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Received"):
        MaskingConfig(**values)


def test_numbers_are_the_same_in_numpy_and_tensorflow() -> None:
    keys = stateless.row_keys(11, 5, np.array([0, 1 << 40], np.int64))
    expected = [stateless.key(11, 5, i) for i in (0, 1 << 40)]
    assert [int(k) for k in keys] == expected
    # SplitMix64 seeded with 0 begins with this published value.
    zero = tf.zeros([1], tf.uint64)
    assert int(stateless.draw(zero, 0, 1)[0, 0]) == 0xE220A8397B1DCDAF


def test_neighbouring_keys_are_independent() -> None:
    ids = np.arange(4096, dtype=np.int64)
    values = [
        stateless.to_unit_interval(
            stateless.draw(stateless.row_keys(0, epoch, ids), stream, 32)
        ).numpy()
        for epoch, stream in ((0, 0), (1, 0), (0, 1))
    ]
    first = values[0]
    pairs = [
        (first[:-1], first[1:]),  # examples
        (first[:, :-1], first[:, 1:]),  # places
        (first, values[1]),  # epochs
        (first, values[2]),  # streams
    ]
    for one, other in pairs:
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(one.size)
        grid, _, _ = np.histogram2d(
            one.ravel(), other.ravel(), bins=8, range=[[0, 1], [0, 1]]
        )
        chi_square = ((grid - grid.mean()) ** 2 / grid.mean()).sum()
        assert chi_square < 103.4  # 99.9 % point, 63 degrees of freedom


def test_permutations() -> None:
    order = stateless.permutation(1000, 1, 2)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    np.testing.assert_array_equal(order, stateless.permutation(1000, 1, 2))
    assert (order != stateless.permutation(1000, 2, 1)).any()
    first = [stateless.permutation(4, seed)[0] for seed in range(4000)]
    assert np.abs(np.bincount(first) - 1000).max() < 4 * np.sqrt(750)
