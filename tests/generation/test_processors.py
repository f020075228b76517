"""Processors of scores against literal values."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.generation import GenerationConfig
from tfllm.generation.processors import History, create_processors

TOKENS = np.array([[5, 6, 5, 6, 7, 0], [0, 8, 8, 9, 8, 0]], np.int32)
REAL = np.array([[1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0]], bool)
SCORES = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 12)


def process(options: dict[str, Any], length: int = 5) -> np.ndarray:
    history = History(
        tf.constant(TOKENS),
        tf.constant(REAL) & (tf.range(6) < length),
        tf.constant(length),
        2,
        tf.constant(3),
    )
    scores = tf.constant(SCORES)
    for processor in create_processors(
        GenerationConfig(eos_token_id=1, **options)
    ):
        scores = processor(history, scores)
    return scores.numpy()


def banned(options: dict[str, Any], length: int = 5) -> list[set[int]]:
    found = process(options, length)
    return [set(np.flatnonzero(np.isinf(row)).tolist()) for row in found]


def test_repetition_penalty() -> None:
    expected = SCORES.copy()
    for row, seen in enumerate(({5, 6, 7}, {8, 9})):
        for token in seen:
            value = expected[row, token]
            expected[row, token] = value * 2 if value < 0 else value / 2
    found = process({"repetition_penalty": 2.0})
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_count_penalties_see_new_tokens_only() -> None:
    expected = SCORES.copy()
    for row in range(2):
        for token in range(12):
            count = (TOKENS[row, 2:5] == token).sum()
            expected[row, token] -= 0.5 * (count > 0) + 0.25 * count
    found = process({"presence_penalty": 0.5, "frequency_penalty": 0.25})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_no_repeat_ngrams() -> None:
    assert banned({"no_repeat_ngram_size": 1}) == [{5, 6, 7}, {8, 9}]
    assert banned({"no_repeat_ngram_size": 2}) == [set(), {8, 9}]
    assert banned({"no_repeat_ngram_size": 2}, 4) == [{5}, set()]
    assert banned({"no_repeat_ngram_size": 3}, 4) == [{5}, set()]
    assert banned({"no_repeat_ngram_size": 7}) == [set(), set()]


def test_tokens_that_must_not_come() -> None:
    words = {"bad_words_ids": [[3], [7, 4], [8, 9, 8, 2]]}
    assert banned(words) == [{3, 4}, {2, 3}]
    # The end of text alone, here 1, is no bad word.
    assert banned({"bad_words_ids": [[1], [7, 1], [3]]}) == [{1, 3}, {3}]
    assert banned({"suppress_tokens": [2, 3]}) == [{2, 3}] * 2
    assert banned({"min_new_tokens": 4}) == [{1}] * 2
    assert banned({"min_new_tokens": 3}) == [set()] * 2
    assert banned({"begin_suppress_tokens": [2]}, 2) == [{2}] * 2
    assert banned({"begin_suppress_tokens": [2]}, 3) == [set()] * 2


def test_tokens_that_must_come() -> None:
    others = set(range(12)) - {1}
    assert banned({"forced_eos_token_id": 1}) == [others] * 2
    assert banned({"forced_eos_token_id": 1}, 4) == [set()] * 2
    only = banned({"forced_bos_token_id": 4}, 2)
    assert only == [set(), set(range(12)) - {4}]
