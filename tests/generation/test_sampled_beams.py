"""Sampled beams against arithmetic, and against beams that are not drawn."""

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.generation.test_generate import (
    PROMPTS,
    VOCAB,
    build,
    log_softmax,
    next_logits,
)
from tfllm.generation import GenerationConfig
from tfllm.generation.generate import generate
from tfllm.generation.samplers import (
    draw_several,
    min_p,
    top_p,
    typical,
)
from tfllm.models import LanguageModel


@pytest.fixture(name="model", scope="module")
def _model() -> LanguageModel:
    return build(0)


def pair_chances(weights: np.ndarray) -> dict[tuple[int, int], float]:
    """The chance of i and then j, drawn without replacement."""
    p = weights / weights.sum()
    return {
        (i, j): p[i] * p[j] / (1.0 - p[i])
        for i, j in itertools.permutations(range(len(p)), 2)
    }


def assert_like(
    counts: dict[Any, int], chances: dict[Any, float], size: int
) -> None:
    """Each count lies within 4.5 deviations of what is expected."""
    for outcome, chance in chances.items():
        spread = np.sqrt(size * chance * (1.0 - chance))
        off = abs(counts.get(outcome, 0) - size * chance)
        assert off < 4.5 * spread, (outcome, counts.get(outcome), chance)


def test_draws_without_replacement() -> None:
    weights, size = np.array([5.0, 3.0, 1.5, 0.5]), 40000
    scores = tf.tile(tf.constant(np.log(weights)[None], tf.float32), [size, 1])
    rows = tf.range(size, dtype=tf.int64)
    found = draw_several(scores, 2, tf.constant(3, tf.int64), rows, 7).numpy()
    pairs, counts = np.unique(found, axis=0, return_counts=True)
    seen = dict(zip(map(tuple, pairs.tolist()), counts.tolist(), strict=True))
    assert_like(seen, pair_chances(weights), size)
    # A place without weight comes last.
    none = tf.constant([[0.0, float("-inf"), 1.0]])
    order = draw_several(none, 3, tf.constant(0, tf.int64), rows[:1], 0)
    assert order.numpy()[0, 2] == 1


def test_the_distribution_of_one_step(model: LanguageModel) -> None:
    """Of four tokens two are drawn; the better one comes first."""
    prompt, size, temperature = [3, 4, 5], 4000, 1.7
    config = GenerationConfig(
        max_new_tokens=1,
        do_sample=True,
        num_beams=2,
        num_return_sequences=2,
        top_k=4,
        temperature=temperature,
        seed=11,
    )
    output = generate(model, [prompt] * size, config)
    logs = log_softmax(next_logits(model, prompt)) / temperature
    best = np.argsort(-logs)[:4]
    chances: dict[tuple[int, int], float] = {}
    for pair, chance in pair_chances(np.exp(logs[best])).items():
        first, second = sorted(pair)
        both = int(best[first]), int(best[second])
        chances[both] = chances.get(both, 0.0) + chance
    counts: dict[tuple[int, int], int] = {}
    for (first,), (second,) in output.sequences:
        counts[first, second] = counts.get((first, second), 0) + 1
    assert sum(chances.values()) == pytest.approx(1.0)
    assert counts.keys() <= chances.keys()
    assert_like(counts, chances, size)


@pytest.mark.parametrize("end", [(), (1,), (1, 4)])
def test_without_temperature_they_are_beams(
    end: tuple[int, ...], model: LanguageModel
) -> None:
    options: dict[str, Any] = {
        "max_new_tokens": 6,
        "num_beams": 3,
        "num_return_sequences": 3,
        "eos_token_id": end,
    }
    beams = generate(model, PROMPTS, GenerationConfig(**options))
    cold = GenerationConfig(**options, do_sample=True, temperature=1e-5)
    drawn = generate(model, PROMPTS, cold)
    assert drawn.sequences == beams.sequences
    assert drawn.finish_reasons == beams.finish_reasons
    np.testing.assert_allclose(
        np.array(drawn.scores) * 1e-5, beams.scores, rtol=1e-4
    )


@pytest.mark.parametrize("filters", [{}, {"top_k": 5, "top_p": 0.9}])
def test_scores_are_sums_of_logarithms(
    filters: dict[str, Any], model: LanguageModel
) -> None:
    """After the temperature and by length, as Transformers defines them."""
    config = GenerationConfig(
        max_new_tokens=6,
        do_sample=True,
        num_beams=4,
        num_return_sequences=3,
        temperature=0.7,
        length_penalty=0.5,
        eos_token_id=1,
        **filters,
    )
    output = generate(model, PROMPTS, config)
    for prompt, rows, scores in zip(
        PROMPTS, output.sequences, output.scores, strict=True
    ):
        assert len({tuple(ids) for ids in rows}) == 3
        assert scores == sorted(scores, reverse=True)
        for ids, score in zip(rows, scores, strict=True):
            logs = [
                log_softmax(next_logits(model, prompt + ids[:i]))[token] / 0.7
                for i, token in enumerate(ids)
            ]
            expected = sum(logs) / len(ids) ** 0.5
            assert score == pytest.approx(expected, abs=1e-3)


def test_draws_are_those_of_the_seed_and_the_prompt(
    model: LanguageModel,
) -> None:
    config = GenerationConfig(
        max_new_tokens=8,
        do_sample=True,
        num_beams=3,
        num_return_sequences=2,
        temperature=2.0,
    )
    output = generate(model, PROMPTS, config)
    assert generate(model, PROMPTS, config).sequences == output.sequences
    other = generate(model, PROMPTS, config.replace(seed=1))
    assert other.sequences != output.sequences
    for i, prompt in enumerate(PROMPTS):
        alone = generate(model, [prompt], config, first_row=2 * i)
        assert alone.sequences[0] == output.sequences[i]


def test_filters_leave_tokens_for_a_beam_to_go_on() -> None:
    scores = tf.constant([[5.0, 0.0, 1.0, -1.0]])
    for keep in (
        lambda least: top_p(scores, 0.5, least),
        lambda least: min_p(scores, 0.9, least),
        lambda least: typical(scores, 0.01, least),
    ):
        kept = [int(np.isfinite(keep(n)).sum()) for n in (1, 2, 3)]
        assert kept == [1, 2, 3]
        assert np.isfinite(keep(2).numpy()[0, [0, 2]]).all()


def test_beams_without_enough_tokens(model: LanguageModel) -> None:
    config = GenerationConfig(
        max_new_tokens=4,
        do_sample=True,
        num_beams=6,
        suppress_tokens=[i for i in range(VOCAB) if i not in (1, 3)],
    )
    output = generate(model, PROMPTS, config)
    assert np.isfinite(output.scores).all()
    for rows in output.sequences:
        assert set(rows[0]) <= {1, 3}
