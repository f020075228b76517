"""Tests of the masked pipeline and of where its examples come from."""

import collections
import dataclasses
import itertools
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.masked import prepare, shards, sources
from tfllm.data.masked.batches import (
    MaskedData,
    MaskedDataConfig,
    open_masked_data,
)
from tfllm.data.masked.config import detection_config
from tfllm.data.masked.instances import InstanceSettings
from tfllm.data.masked.masking import MaskingConfig
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

_CONFIG = MaskedDataConfig(
    seq_length=32,
    batch_size=16,
    seed=5,
    dupe_factor=1,
    block_bytes=8000,
    units_per_group=3,
)


def _prepare(
    text_file: str, vocab_file: str, folder: pathlib.Path, **changes: Any
) -> str:
    objective = changes.pop("pair_objective", "nsp")
    prepare.prepare(
        prepare.PrepareConfig(
            input_files=text_file,
            tokenizer=vocab_file,
            output_dir=str(folder),
            instances=InstanceSettings(
                seq_length=32, pair_objective=objective, dupe_factor=1, seed=5
            ),
            block_bytes=8000,
            **changes,
        )
    )
    return str(folder)


@pytest.fixture(name="folder", scope="module")
def _folder(
    text_file: str,
    vocab_file: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    folder = tmp_path_factory.mktemp("prepared") / "shards"
    return _prepare(text_file, vocab_file, folder)


@pytest.fixture(name="data")
def _data(folder: str, tokenizer: WordPieceTokenizer) -> MaskedData:
    return open_masked_data(folder, tokenizer, _CONFIG)


def _take(dataset: tf.data.Dataset, count: int) -> list[Any]:
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def _assert_same(ones: list[Any], others: list[Any]) -> None:
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def _unmasked(batches: list[Any]) -> list[bytes]:
    """The rows of batches before masking."""
    rows = []
    for x, y, weights in batches:
        ids = x["token_ids"].copy()
        for row, used in enumerate(weights["mlm"] > 0):
            places = x["masked_positions"][row][used]
            ids[row, places] = y["mlm"][row][used]
        rows += [row.tobytes() for row in ids]
    return rows


def test_batches(data: MaskedData, tokenizer: WordPieceTokenizer) -> None:
    dataset = data.dataset()
    shapes = tf.nest.map_structure(
        lambda s: (s.dtype, s.shape.as_list()), dataset.element_spec
    )
    grid, slots = (tf.int32, [16, 32]), (tf.int32, [16, 5])
    assert shapes == (
        {
            "token_ids": grid,
            "segment_ids": grid,
            "padding_mask": grid,
            "masked_positions": slots,
        },
        {"mlm": slots, "nsp": (tf.int32, [16])},
        {"mlm": (tf.float32, [16, 5]), "nsp": (tf.float32, [16])},
    )
    for x, _, weights in _take(dataset, 5):
        ids, second = x["token_ids"], x["segment_ids"]
        np.testing.assert_array_equal(
            x["padding_mask"], ids != tokenizer.pad_id
        )
        assert (weights["nsp"] == 1).all()
        for row in range(16):
            first_end, end = np.flatnonzero(ids[row] == tokenizer.special.sep)
            assert ids[row, 0] == tokenizer.special.cls
            places = np.flatnonzero(second[row])
            assert (places[0], places[-1]) == (first_end + 1, end)
            assert x["padding_mask"][row].sum() == end + 1


def test_seeking(data: MaskedData) -> None:
    steps = data.steps_per_epoch
    batches = _take(data.dataset(), 2 * steps + 3)
    for start in (1, steps // 2, steps - 1, steps, steps + 7):
        _assert_same(_take(data.dataset(start), 4), batches[start : start + 4])
    assert data.dataset().cardinality() == tf.data.INFINITE_CARDINALITY


def test_an_epoch_holds_every_example_once(
    folder: str, tokenizer: WordPieceTokenizer
) -> None:
    config = dataclasses.replace(_CONFIG, batch_size=1)
    data = open_masked_data(folder, tokenizer, config)
    count = data.num_examples
    batches = _take(data.dataset(), 2 * count)
    first, second = _unmasked(batches[:count]), _unmasked(batches[count:])
    in_order = _unmasked(list(data.evaluation_dataset().as_numpy_iterator()))
    assert collections.Counter(first) == collections.Counter(in_order)
    assert collections.Counter(second) == collections.Counter(in_order)
    assert first not in (second, in_order)


def test_remainder_is_dropped(data: MaskedData) -> None:
    steps = data.steps_per_epoch
    assert steps == data.num_examples // 16
    rows = _unmasked(_take(data.dataset(), steps))
    whole = _unmasked(list(data.evaluation_dataset(1).as_numpy_iterator()))
    left = collections.Counter(whole) - collections.Counter(rows)
    assert sum(left.values()) == data.num_examples % 16
    assert data.steps(1.5) == -(-3 * steps // 2)


def test_masks_are_drawn_anew_in_each_epoch(
    folder: str, tokenizer: WordPieceTokenizer
) -> None:
    config = dataclasses.replace(_CONFIG, batch_size=1)
    data = open_masked_data(folder, tokenizer, config)
    count = data.num_examples

    def masks(start: int) -> dict[bytes, bytes]:
        batches = _take(data.dataset(start), count)
        places = [x["masked_positions"].tobytes() for x, _, _ in batches]
        return dict(zip(_unmasked(batches), places, strict=True))

    first, again, second = masks(0), masks(0), masks(count)
    assert first == again
    same = [first[row] == second[row] for row in first]
    assert np.mean(same) < 0.15  # short rows have few choices


def test_text_and_shards_give_the_same_batches(
    folder: str,
    text_file: str,
    tokenizer: WordPieceTokenizer,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards_data = open_masked_data(folder, tokenizer, _CONFIG)
    index = str(tmp_path / "index")
    text_data = open_masked_data(text_file, tokenizer, _CONFIG, index)
    assert text_data.num_examples == shards_data.num_examples
    expected = _take(shards_data.dataset(3), 20)
    _assert_same(_take(text_data.dataset(3), 20), expected)
    # The counts are kept: the second time nothing is counted.
    monkeypatch.setattr(sources, "find_blocks", None)
    again = open_masked_data(text_file, tokenizer, _CONFIG, index)
    _assert_same(_take(again.dataset(3), 20), expected)
    other = dataclasses.replace(_CONFIG, dupe_factor=2)
    with pytest.raises(TypeError):  # other settings are counted anew
        open_masked_data(text_file, tokenizer, other, index)


def test_static_masks(
    text_file: str,
    vocab_file: str,
    folder: str,
    tokenizer: WordPieceTokenizer,
    tmp_path: pathlib.Path,
) -> None:
    static = _prepare(
        text_file, vocab_file, tmp_path / "static", static_masks=True
    )
    fixed = open_masked_data(static, tokenizer, _CONFIG)
    drawn = open_masked_data(folder, tokenizer, _CONFIG)
    steps = fixed.steps_per_epoch
    # Epoch 0 of dynamic masks, then the same again.
    _assert_same(_take(fixed.dataset(), 5), _take(drawn.dataset(), 5))
    first = _take(fixed.evaluation_dataset(), 5)
    _assert_same(first, _take(drawn.evaluation_dataset(), 5))
    later = _take(fixed.dataset(steps), 5)
    rows = _unmasked(_take(drawn.dataset(steps), 5))
    assert _unmasked(later) == rows
    redrawn = dataclasses.replace(_CONFIG, static_masks=False)
    anew = open_masked_data(static, tokenizer, redrawn)
    _assert_same(_take(anew.dataset(steps), 5), _take(drawn.dataset(steps), 5))
    other = dataclasses.replace(_CONFIG, masking=MaskingConfig(rate=0.3))
    with pytest.raises(ValueError, match=r"masking flags.*'rate': 0.3"):
        open_masked_data(static, tokenizer, other)
    asked = dataclasses.replace(_CONFIG, static_masks=True)
    for files in (folder, text_file):
        with pytest.raises(ValueError, match="`static_masks` needs"):
            open_masked_data(files, tokenizer, asked)


def test_evaluation_is_padded_and_repeatable(data: MaskedData) -> None:
    dataset = data.evaluation_dataset(100)
    batches = list(dataset.as_numpy_iterator())
    count = data.num_examples
    assert len(batches) == int(dataset.cardinality()) == -(-count // 100)
    weights = np.concatenate([w["nsp"] for _, _, w in batches])
    assert weights[:count].all()
    assert not weights[count:].any()
    mlm = np.concatenate([w["mlm"] for _, _, w in batches])
    assert mlm[:count].any(1).all()
    assert not mlm[count:].any()
    # No row is empty, which some attention kernels turn into NaN.
    assert all((x["padding_mask"].sum(1) > 0).all() for x, _, _ in batches)
    _assert_same(batches, list(dataset.as_numpy_iterator()))
    short = data.evaluation_dataset(100, max_steps=2)
    _assert_same(list(short.as_numpy_iterator()), batches[:2])


@pytest.mark.parametrize("objective", ["sop", "none"])
def test_other_objectives(
    text_file: str, tokenizer: WordPieceTokenizer, objective: str
) -> None:
    config = dataclasses.replace(_CONFIG, pair_objective=objective)
    data = open_masked_data(text_file, tokenizer, config)
    ((x, y, weights),) = _take(data.dataset(), 1)
    paired = objective == "sop"
    assert ("nsp" in y) == ("nsp" in weights) == paired
    assert x["segment_ids"].any() == paired
    ends = (x["token_ids"] == tokenizer.special.sep).sum(1)
    assert (ends == 1 + paired).all()


def test_too_few_examples(
    text_file: str, tokenizer: WordPieceTokenizer
) -> None:
    config = dataclasses.replace(_CONFIG, batch_size=1 << 20)
    data = open_masked_data(text_file, tokenizer, config)
    with pytest.raises(ValueError, match="`batch_size`.*Received: 1048576"):
        data.dataset()


def test_shards_that_do_not_fit(
    folder: str, tokenizer: WordPieceTokenizer
) -> None:
    for change, message in (
        ({"seq_length": 64}, "`seq_length`.*the shards, 32. Received: 64"),
        ({"pair_objective": "sop"}, "`pair_objective`.*'nsp'. Rec.*'sop'"),
    ):
        config = dataclasses.replace(_CONFIG, **change)
        with pytest.raises(ValueError, match=message):
            open_masked_data(folder, tokenizer, config)
    other = WordPieceTokenizer([*tokenizer.vocab, "more"])
    with pytest.raises(ValueError, match="tokenizer of the run.*hash"):
        open_masked_data(folder, other, _CONFIG)


def test_bad_files(
    tokenizer: WordPieceTokenizer, tmp_path: pathlib.Path
) -> None:
    missing = str(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match=r"`train_files`.*missing\.txt"):
        open_masked_data(missing, tokenizer, _CONFIG)
    blank = tmp_path / "blank.txt"
    blank.write_text("\n\n")
    with pytest.raises(ValueError, match=r"`eval_files`.*blank\.txt"):
        open_masked_data(str(blank), tokenizer, _CONFIG, flag="eval_files")


def test_damaged_shard_names_the_file(
    text_file: str,
    vocab_file: str,
    tokenizer: WordPieceTokenizer,
    tmp_path: pathlib.Path,
) -> None:
    folder = _prepare(text_file, vocab_file, tmp_path / "shards")
    data = open_masked_data(folder, tokenizer, _CONFIG)
    for path in pathlib.Path(folder).glob("*.tfrecord"):
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="A shard is damaged"
    ):
        _take(data.dataset(), 1)
    pathlib.Path(shards.shard_path(folder, 1)).unlink()
    with pytest.raises(ValueError, match="missing.*shard-000001"):
        open_masked_data(folder, tokenizer, _CONFIG)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="`batch_size`.*Received: 0"):
        MaskedDataConfig(batch_size=0)
    with pytest.raises(ValueError, match="`start_step`.*Received: -1"):
        MaskedData(
            sources.ShardSource("", (10,), False, 9),
            None,  # type: ignore[arg-type]
            dataclasses.replace(_CONFIG, batch_size=2),
        ).dataset(-1)


def test_batches_with_the_tokens_before_masking(
    text_file: str, tokenizer: WordPieceTokenizer
) -> None:
    flags = {
        "seq_length": 32,
        "batch_size": 16,
        "mask_rate": 0.15,
        "max_predictions": 0,
        "masking": "token",
        "seed": 5,
        "dupe_factor": 1,
        "short_seq_prob": 0.1,
    }
    data = open_masked_data(text_file, tokenizer, detection_config(flags))
    batches = _take(data.dataset(), 3)
    for x, y, weights in batches:
        masked = x["choices"] >= 0
        assert (masked.sum(1) == weights["mlm"].sum(1)).all()
        # Each chosen token is masked, and no other one is changed.
        mask = tokenizer.role_id("mask")
        np.testing.assert_array_equal(
            x["token_ids"], np.where(masked, mask, y["rtd"])
        )
        assert not (y["rtd"] == mask).any()
        labels = np.take_along_axis(y["rtd"], x["masked_positions"], 1)
        used = weights["mlm"] > 0
        np.testing.assert_array_equal(labels[used], y["mlm"][used])
        np.testing.assert_array_equal(weights["rtd"], x["padding_mask"])
    # Uniform: the mean of n numbers is off by a few times (12 n) ** -0.5.
    drawn = np.concatenate([x["choices"].ravel() for x, _, _ in batches])
    drawn = drawn[drawn >= 0] / 2**24
    assert drawn.max() < 1.0
    assert abs(drawn.mean() - 0.5) < 4 * (12 * drawn.size) ** -0.5
    _assert_same(batches[1:], _take(data.dataset(1), 2))
    _, y, weights = list(data.evaluation_dataset().as_numpy_iterator())[-1]
    assert set(y) == set(weights) == {"mlm", "rtd"}
