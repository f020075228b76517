"""Perplexities of a text against arithmetic."""

import math

import pytest

from tfllm.data.token_stream.tokenize_files import TextCounts
from tfllm.evaluation.text_perplexity import text_perplexities


def test_figures_per_word_and_byte() -> None:
    # 8 predictions of one bit each.
    counts = TextCounts(tokens=9, words=2, text_bytes=4)
    assert text_perplexities(math.log(2.0), counts) == {
        "word_perplexity": pytest.approx(16.0),
        "byte_perplexity": pytest.approx(4.0),
        "bits_per_byte": pytest.approx(2.0),
    }


def test_blank_text_has_no_figure_per_word() -> None:
    counts = TextCounts(tokens=3, words=0, text_bytes=2)
    assert text_perplexities(math.log(2.0), counts) == {
        "byte_perplexity": pytest.approx(2.0),
        "bits_per_byte": pytest.approx(1.0),
    }
