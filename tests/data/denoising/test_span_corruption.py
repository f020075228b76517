"""Tests of tfllm.data.denoising.span_corruption."""

import itertools

import numpy as np
import pytest

from tfllm import stateless
from tfllm.data.denoising.config import DenoisingOptions
from tfllm.data.denoising.noise import EMPTY
from tfllm.data.denoising.span_corruption import (
    SpanCorruption,
    lengths_of,
    longest,
    sentinel_ids,
)

# Far above the ids of the text.
SENTINELS = list(range(9_999, 9_899, -1))
ROWS = 400


def keys(count: int, epoch: int = 0) -> np.ndarray:
    return stateless.array_keys(7, epoch, np.arange(count))


def noisy_rows(options: DenoisingOptions, room: int) -> tuple:
    """Noise, text, sources and targets; the ids of a row ascend."""
    noise = SpanCorruption(options, SENTINELS, room)
    text = np.arange(ROWS * noise.num_tokens, dtype=np.int32) % 9_000
    text = text.reshape(ROWS, -1)
    return noise, text, *noise(text, keys(ROWS))


def spans_of(target: list[int]) -> list[list[int]]:
    """The span behind each sentinel, in the order of the sentinels."""
    assert target[0] == SENTINELS[0]
    spans: list[list[int]] = []
    for token in target:
        if token in SENTINELS:
            assert token == SENTINELS[len(spans)]
            spans.append([])
        else:
            spans[-1].append(token)
    return spans


OPTIONS = {
    "usual": DenoisingOptions(),
    "dense": DenoisingOptions(noise_density=0.5, mean_span_length=2.0),
    "long": DenoisingOptions(noise_density=0.3, mean_span_length=8.0),
    "single": DenoisingOptions(noise_density=0.2, mean_span_length=1.0),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("room", [7, 61])
def test_source_and_target_give_the_text(name: str, room: int) -> None:
    """Every token once, in order; sentinels in order; the last one ends."""
    noise, text, sources, targets = noisy_rows(OPTIONS[name], room)
    assert sources.shape[1] <= room
    assert targets.shape[1] <= room
    assert EMPTY not in sources
    assert EMPTY not in targets
    for row, source, target in zip(
        text.tolist(), sources.tolist(), targets.tolist(), strict=True
    ):
        *spans, last = spans_of(target)
        assert last == []
        assert all(spans)
        rebuilt: list[int] = []
        used = 0
        for token in source:
            if token in SENTINELS:
                assert token == SENTINELS[used]
                rebuilt += spans[used]
                used += 1
            else:
                rebuilt.append(token)
        assert used == len(spans)
        assert rebuilt == row
        # As published: text first, a span last.
        assert source[0] == row[0]
        assert source[-1] == SENTINELS[used - 1]


@pytest.mark.parametrize("name", OPTIONS)
def test_density_and_mean_length_are_those_asked(name: str) -> None:
    options = OPTIONS[name]
    noise, text, _, targets = noisy_rows(options, 256)
    spans = [spans_of(target)[:-1] for target in targets.tolist()]
    sizes = [len(span) for row in spans for span in row]
    density = sum(sizes) / text.size
    assert abs(density - options.density) < 0.5 / noise.num_tokens
    assert abs(np.mean(sizes) / options.mean_span_length - 1.0) < 0.05
    # Every division into spans is equally likely: geometric lengths.
    if options.mean_span_length > 1:
        share = np.mean(np.array(sizes) == 1)
        assert abs(share - 1.0 / options.mean_span_length) < 0.05


def test_every_token_is_noisy_equally_often() -> None:
    noise, text, _, targets = noisy_rows(OPTIONS["usual"], 100)
    counts = np.zeros(noise.num_tokens)
    for row, target in zip(text.tolist(), targets.tolist(), strict=True):
        places = {token: place for place, token in enumerate(row)}
        for token in set(target) - set(SENTINELS):
            counts[places[token]] += 1
    # The first token always stays, and the last is always noisy.
    assert counts[0] == 0
    assert counts[-1] == ROWS
    middle = counts[20:-20] / ROWS
    assert abs(middle.mean() - 0.15) < 0.02
    assert middle.max() < 0.25


def test_lengths_are_those_of_t5() -> None:
    """568 tokens for sources of 512, targets of 114 with the end of text.

    Reference: `random_spans_helper` of T5's repository, which has no further
    sentinel.
    """
    lengths = longest(511, DenoisingOptions())
    assert (lengths.tokens, lengths.source + 1) == (568, 512)
    assert lengths.target - 1 + 1 == 114


def test_rows_are_as_long_as_fits() -> None:
    for room, options in itertools.product([8, 17, 64, 127], OPTIONS.values()):
        lengths = longest(room, options)
        assert max(lengths.source, lengths.target) <= room
        longer = lengths_of(lengths.tokens + 1, options)
        assert max(longer.source, longer.target) > room


def test_noise_depends_on_the_key_alone() -> None:
    noise = SpanCorruption(OPTIONS["usual"], SENTINELS, 50)
    text = np.tile(np.arange(noise.num_tokens, dtype=np.int32), (9, 1))
    whole = noise(text, keys(9))
    part = noise(text[4:6], keys(9)[4:6])
    np.testing.assert_array_equal(whole.sources[4:6], part.sources)
    np.testing.assert_array_equal(whole.targets[4:6], part.targets)
    other = noise(text, keys(9, epoch=1))
    assert (whole.sources != other.sources).any(axis=1).all()


def test_sentinels_are_found_by_their_numbers() -> None:
    assert sentinel_ids(["a", "<extra_id_1>", "<extra_id_0>"]) == [2, 1]
    assert sentinel_ids(["▁<extra_id_0>", "<extra_id_2>"]) == [0]
    assert sentinel_ids(["<extra_id_x>", "b"]) == []


def test_too_few_sentinels() -> None:
    with pytest.raises(ValueError, match=r"<extra_id_28>.*Received.* 10\. L"):
        SpanCorruption(DenoisingOptions(), SENTINELS[:10], 511)
    with pytest.raises(ValueError, match=r"Received: one with 0\. Use that"):
        SpanCorruption(DenoisingOptions(), [], 511)
