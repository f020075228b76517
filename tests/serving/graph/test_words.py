"""Words and characters of texts in the graph, against Python's."""

import random

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.serving.graph import words
from tfllm.serving.graph.characters import Characters, stripped
from tfllm.serving.signatures.served_task import valid_utf8

_ALPHABET = (
    "abAB09_ \t\n.,-'\u00a0\u3000é\u0301\u0327\u200d\u200b\ufeff\u00ad漢字"
    "한글🙂👩\u200d\0\x01\u2028٣½ⅷ\ue000\U00020000\ufffd"
)


def fuzz(count: int) -> list[str]:
    rng = random.Random(0)
    texts = ["", " ", "\0", "漢", "a" * 500]
    while len(texts) < count:
        length = rng.randint(1, 20)
        # Any character now and then, but for surrogates.
        texts.append(
            "".join(
                rng.choice(_ALPHABET)
                if rng.random() < 0.9
                else chr(rng.choice([rng.randrange(0xD800), 0x1F600]))
                for _ in range(length)
            )
        )
    return texts


def test_words_are_those_of_predict() -> None:
    texts = fuzz(3000)
    text = tf.constant(texts)
    found = words.split(text)
    characters = Characters(text)
    rows = found.starts.value_rowids()
    starts = found.starts.with_flat_values(
        characters.from_byte(rows, found.starts.flat_values)
    ).to_list()
    ends = found.starts.with_flat_values(
        characters.from_byte(rows, found.ends.flat_values)
    ).to_list()
    for one, first, last in zip(texts, starts, ends, strict=True):
        assert tuple(zip(first, last, strict=True)) == word_spans(one), one


def test_characters_of_bytes() -> None:
    texts = fuzz(300)
    characters = Characters(tf.constant(texts))
    for row, text in enumerate(texts):
        content = text.encode()
        places = np.arange(len(content))
        rows = np.full(len(places), row)
        holding = characters.holding(rows, places).numpy().tolist()
        expected = [
            i for i, c in enumerate(text) for _ in range(len(c.encode()))
        ]
        assert holding == expected
        numbers = np.arange(len(text) + 1)
        rows = np.full(len(numbers), row)
        following = characters.filled(rows, numbers).numpy().tolist()
        for i, found in enumerate(following):
            assert text[i:found].strip() == ""
            assert found == len(text) or not text[found].isspace()
        first = len(text) // 3
        cut = characters.cut([row], [first], [len(text)]).numpy()[0]
        assert cut.decode() == text[first:]


def test_stripped_as_in_python() -> None:
    texts = [
        f"{a}x y{b}"
        for a in ("", " \n", "\u3000\u2028")
        for b in ("", "\x85\t")
    ]
    texts += fuzz(200)
    found = stripped(tf.constant(texts)).numpy()
    # RE2 ends no line before a final newline, as Python's strip does not.
    assert [one.decode() for one in found] == [text.strip() for text in texts]


@pytest.mark.parametrize("size", [1, 4, 12])
def test_what_is_not_utf8_is_replaced_as_in_python(size: int) -> None:
    rng = random.Random(size)
    parts = [bytes([byte]) for byte in range(256)]
    parts += ["é".encode(), "漢".encode(), "🙂".encode(), b"\xed\xa0\x80"]
    texts = [b"".join(rng.choices(parts, k=size)) for _ in range(3000)]
    found = valid_utf8(tf.constant(texts)).numpy()
    for text, one in zip(texts, found, strict=True):
        assert one == text.decode("utf-8", "replace").encode()
