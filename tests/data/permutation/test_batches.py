"""Tokens to predict, and their order."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.permutation.batches import (
    PermutationData,
    factorization_order,
    open_permutation_data,
)
from tfllm.data.permutation.config import MAX_SPAN_WORDS, data_config
from tfllm.models.two_stream import factorization_mask
from tfllm.runs.run_config import RunConfig
from tfllm.tokenizers import WordPieceTokenizer

LENGTH, ROWS, RATE = 32, 16, 1 / 6
FLAGS = {
    **RunConfig().values,
    "seq_length": LENGTH,
    "batch_size": ROWS,
    "mask_rate": RATE,
    "masking": "span",
    "dupe_factor": 1,
    "seed": 5,
}


@pytest.fixture(name="data")
def _data(text_file: str, tokenizer: WordPieceTokenizer) -> PermutationData:
    return open_permutation_data(text_file, tokenizer, data_config(FLAGS))


def take(dataset: tf.data.Dataset, count: int) -> list[Any]:
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def test_the_settings_of_the_paper() -> None:
    config = data_config(FLAGS)
    assert config.pair_objective == "none"
    assert config.masking.max_span_words == MAX_SPAN_WORDS == 5
    assert config.masking.unit == "span"
    # For K = 6 and 512 tokens, 85 are predicted, and 86 at most.
    assert config.masking.num_slots(512) == 86


def test_tokens_stay_and_some_are_predicted_in_random_order(
    data: PermutationData, tokenizer: WordPieceTokenizer
) -> None:
    mask = tokenizer.special.mask
    ranks: list[list[int]] = []
    for x, y, weights in take(data.dataset(), 4):
        assert x["token_ids"].shape == (ROWS, LENGTH)
        assert not (x["token_ids"] == mask).any()
        used = weights["plm"] == 1
        positions = x["masked_positions"]
        labels = np.take_along_axis(x["token_ids"], positions, axis=1)
        np.testing.assert_array_equal(y["plm"][used], labels[used])
        special = np.asarray(tokenizer.is_special)
        assert not special[y["plm"][used]].any()
        for row in range(ROWS):
            order = x["factorization_order"][row]
            targets = positions[row][used[row]]
            total = int(x["padding_mask"][row].sum())
            # Spans that would exceed the share are left out.
            assert len(targets) <= max(1, round(total * RATE))
            assert {*np.flatnonzero(order)} == {*targets}
            found = order[targets].tolist()
            assert sorted(found) == [*range(1, len(targets) + 1)]
            ranks.append(found)
    assert sum(map(len, ranks)) > 2 * len(ranks)
    long = [found for found in ranks if len(found) > 2]
    # Not from left to right, nor the reverse.
    assert 0.02 < np.mean([f == sorted(f) for f in long]) < 0.5
    assert 0.3 < np.mean([np.mean(np.diff(f) > 0) for f in long]) < 0.7


def test_orders_are_functions_of_the_epoch(data: PermutationData) -> None:
    first, again = (take(data.dataset(), 3) for _ in range(2))
    tf.nest.map_structure(np.testing.assert_array_equal, first, again)
    resumed = take(data.dataset(2), 1)
    tf.nest.map_structure(np.testing.assert_array_equal, first[2:], resumed)
    steps = data.num_examples // ROWS

    def orders(batches: list[Any]) -> dict[bytes, bytes]:
        return {
            row.tobytes(): order.tobytes()
            for x, *_ in batches
            for row, order in zip(
                x["token_ids"], x["factorization_order"], strict=True
            )
        }

    epochs = take(data.dataset(), 2 * steps)
    one, two = orders(epochs[:steps]), orders(epochs[steps:])
    shared = one.keys() & two.keys()
    assert len(shared) > len(one) / 2
    assert np.mean([one[row] != two[row] for row in shared]) > 0.8


def test_an_evaluation_fills_its_last_batch_without_weight(
    text_file: str, tokenizer: WordPieceTokenizer
) -> None:
    config = data_config({**FLAGS, "masking": "token"})
    data = open_permutation_data(text_file, tokenizer, config)
    batches = [*data.evaluation_dataset().as_numpy_iterator()]
    weights = np.concatenate([w["plm"].max(axis=1) for _, _, w in batches])
    assert len(weights) % ROWS == 0
    assert weights.sum() == data.num_examples


def test_factorization_order() -> None:
    order = factorization_order(
        tf.constant([[30, 10, 20, 5], [9, 8, 7, 6]], tf.int64),
        tf.constant([[1, 3, 4, 0], [2, 0, 0, 0]]),
        tf.constant([[True, True, True, False], [True, False, False, False]]),
        5,
    )
    assert order.numpy().tolist() == [[0, 3, 0, 1, 2], [0, 0, 1, 0, 0]]
    visible = np.asarray(factorization_mask(order))
    expected = [
        [[j in sees for j in range(5)] for sees in rows]
        for rows in (
            # 0 and 2 are given; 3, 4, 1 is the order.
            [{0, 2}, {0, 2, 3, 4}, {0, 2}, {0, 2}, {0, 2, 3}],
            [{0, 1, 3, 4}] * 5,
        )
    ]
    np.testing.assert_array_equal(visible, expected)


def test_masks_of_shards_are_not_used() -> None:
    config = data_config(FLAGS)
    assert config.static_masks is False
    assert dataclasses.replace(config.masking).mask_share == 0.0
