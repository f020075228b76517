"""Tests of tfllm.data.denoising.text_infilling."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tfllm import stateless
from tfllm.data.denoising.config import DenoisingOptions
from tfllm.data.denoising.noise import EMPTY
from tfllm.data.denoising.text_infilling import TextInfilling, poisson_bounds

MASK, ROOM, ROWS = 9_999, 60, 400
# Sentences of 10 tokens end with ids that end with 9.
ENDS = np.arange(10_000) % 10 == 9


def rows_of(**options: Any) -> tuple[np.ndarray, list[list[int]]]:
    """Text, whose ids are their places, and sources without their padding."""
    settings = DenoisingOptions("text_infilling", **options)
    noise = TextInfilling(settings, MASK, ENDS, ROOM)
    text = np.tile(np.arange(ROOM, dtype=np.int32), (ROWS, 1))
    keys = stateless.array_keys(3, 0, np.arange(ROWS))
    sources, targets = noise(text, keys)
    np.testing.assert_array_equal(targets, text)
    assert sources.dtype == np.int32
    for row in sources:
        length = int((row != EMPTY).sum())
        assert (row[length:] == EMPTY).all()
    return text, [[i for i in row if i != EMPTY] for row in sources.tolist()]


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("mean", [1.0, 3.0, 10.0])
def test_spans_become_masks(density: float, mean: float) -> None:
    """The rest of the text stays in order; each span has one mask."""
    _, sources = rows_of(
        noise_density=density, mean_span_length=mean, permute_sentences=False
    )
    sizes: Counter[int] = Counter()
    for source in sources:
        assert len(source) <= ROOM
        kept = [token for token in source if token != MASK]
        assert kept == sorted(set(kept))
        assert ROOM - len(kept) == round(density * ROOM)
        last = -1
        hidden = 0
        for token, after in zip(source, [*source[1:], ROOM], strict=True):
            if token == MASK:
                assert after != MASK
                sizes[after - last - 1] += 1
                hidden += after - last - 1
            else:
                last = token
        assert hidden == ROOM - len(kept)
    spans, texts = expected_spans(mean, round(density * ROOM))
    assert sum(sizes.values()) / ROWS == pytest.approx(spans, rel=0.03)
    with_text = sum(sizes.values()) - sizes[0]
    assert with_text / ROWS == pytest.approx(texts, rel=0.03)


def expected_spans(mean: float, noisy: int) -> tuple[float, float]:
    """Mean numbers of spans in a row, and of those that are not empty.

    More than k draws are needed if k of them, together Poisson with k times
    the mean, give less than the noisy tokens. There are at most as many spans
    as these. Of all draws, a share of exp(-mean) is empty (Wald's identity).
    """

    def is_short(draws: int) -> float:
        bounds = poisson_bounds(draws * mean)
        return float(bounds[noisy - 1])

    draws = [is_short(k) for k in range(20 * noisy)]
    return sum(draws[:noisy]), sum(draws) * (1.0 - math.exp(-mean))


def test_poisson() -> None:
    bounds = poisson_bounds(3.0)
    expected = [math.exp(-3.0) * 3.0**k / math.factorial(k) for k in range(9)]
    np.testing.assert_allclose(np.diff(bounds, prepend=0.0)[:9], expected)
    assert bounds[-1] == pytest.approx(1.0, abs=1e-9)


def test_sentences_are_permuted_whole() -> None:
    _, sources = rows_of(noise_density=0.0)
    orders = set()
    for source in sources:
        sentences = [source[i : i + 10] for i in range(0, ROOM, 10)]
        for sentence in sentences:
            first = sentence[0]
            assert sentence == list(range(first, first + 10))
        assert sorted(source) == list(range(ROOM))
        orders.add(tuple(source))
    assert len(orders) > ROWS / 2
    # Six sentences have 720 orders; each is first in about a sixth of them.
    firsts = Counter(source[0] for source in sources)
    assert set(firsts) == set(range(0, ROOM, 10))
    assert max(firsts.values()) < ROWS / 3


def test_several_full_stops_end_one_sentence() -> None:
    ends = np.zeros(10_000, bool)
    ends[[3, 4, 5]] = True
    noise = TextInfilling(
        DenoisingOptions("text_infilling", noise_density=0.0), MASK, ends, 8
    )
    text = np.tile(np.arange(8, dtype=np.int32), (50, 1))
    keys = stateless.array_keys(0, 0, np.arange(50))
    found = {tuple(row) for row in noise(text, keys).sources.tolist()}
    assert found == {tuple(range(8)), (6, 7, 0, 1, 2, 3, 4, 5)}


def test_rotation() -> None:
    _, sources = rows_of(
        noise_density=0.0, permute_sentences=False, rotate_documents=True
    )
    for source in sources:
        start = source[0]
        assert source == [*range(start, ROOM), *range(start)]
    assert len({source[0] for source in sources}) > ROOM * 0.9


def test_a_shorter_source_is_rotated_without_its_padding() -> None:
    _, plain = rows_of(permute_sentences=False)
    _, rotated = rows_of(permute_sentences=False, rotate_documents=True)
    for one, other in zip(plain, rotated, strict=True):
        assert any(one[i:] + one[:i] == other for i in range(len(one)))


def test_single_tokens_are_masked_or_left_out() -> None:
    _, sources = rows_of(
        noise_density=0.0,
        permute_sentences=False,
        token_masking=0.2,
        token_deletion=0.3,
    )
    masks = sum(source.count(MASK) for source in sources)
    left = sum(map(len, sources))
    assert abs(left / (ROWS * ROOM) - 0.7) < 0.02
    assert abs(masks / left - 0.2) < 0.02
    for source in sources:
        kept = [token for token in source if token != MASK]
        assert kept == sorted(set(kept))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"denoising": "spans"}, "denoising.*span_corruption.*'spans'"),
        ({"noise_density": 0.0}, "noise_density.*above 0.*0.0"),
        ({"noise_density": 0.6}, "noise_density.*at most 0.5.*0.6"),
        ({"mean_span_length": 0.5}, "mean_span_length.*0.5"),
        ({"token_masking": 0.1}, "token_masking.*text_infilling.*0.1"),
        ({"rotate_documents": True}, "rotate_documents.*text_infilling"),
        (
            {"denoising": "text_infilling", "token_deletion": 1.5},
            "token_deletion.*from 0 to 1.*1.5",
        ),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenoisingOptions(**options)
