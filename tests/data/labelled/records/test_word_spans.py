"""Words of raw text."""

import pytest

from tfllm.data.labelled.records.word_spans import word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Anna went home.", ["Anna", "went", "home", "."]),
        ("  it's\t3.5 %\n", ["it", "'", "s", "3", ".", "5", "%"]),
        ("我在New York。", ["我", "在", "New", "York", "。"]),
        # Vowel signs are marks: they stay in their word.
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("snake_case e\u0301te\u0301", ["snake_case", "e\u0301te\u0301"]),
        ("a\u200cb\u200c \x00c", ["a\u200cb", "c"]),
        (" \n", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == words
