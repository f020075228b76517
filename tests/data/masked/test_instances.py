"""Tests of tfllm.data.masked.instances."""

import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.masked import config, instances
from tfllm.data.masked.instances import InstanceSettings
from tfllm.tokenizers import RowTemplate

Corpus = tuple[np.ndarray, np.ndarray, np.ndarray]


def _corpus(seed: int = 0, documents: int = 120, longest: int = 30) -> Corpus:
    """Documents of random sentences; token i of the corpus has id i."""
    rng = np.random.default_rng(seed)
    per_document = rng.integers(1, 25, documents)
    sizes = rng.integers(1, longest, per_document.sum())
    return (
        np.arange(sizes.sum(), dtype=np.int32),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([[0], np.cumsum(per_document)]),
    )


def _build(corpus: Corpus, **settings: Any) -> instances.Examples:
    config = InstanceSettings(**settings)
    limit = config.seq_length - 2 - (config.pair_objective != "none")
    return instances.build_examples(*corpus, config, limit, 0)


def _document_of(corpus: Corpus, token: np.ndarray) -> np.ndarray:
    borders = corpus[1][corpus[2]]
    return np.searchsorted(borders, token, side="right")


def _published(
    corpus: Corpus, limit: int, short: float, rng: random.Random
) -> list[tuple[int, int, int]]:
    """The published loop over token lists: (label, A tokens, B tokens)."""
    flat, sentences, borders = (c.tolist() for c in corpus)
    texts = [flat[a:b] for a, b in zip(sentences, sentences[1:], strict=False)]
    documents = [texts[a:b] for a, b in zip(borders, borders[1:], strict=False)]
    made = []
    for number, document in enumerate(documents):
        target = limit
        if rng.random() < short:
            target = rng.randint(2, limit)
        chunk: list[list[int]] = []
        i = 0
        while i < len(document):
            chunk.append(document[i])
            if i == len(document) - 1 or sum(map(len, chunk)) >= target:
                a_end = 1 if len(chunk) < 2 else rng.randint(1, len(chunk) - 1)
                a = sum(chunk[:a_end], [])
                b: list[int] = []
                label = int(len(chunk) == 1 or rng.random() < 0.5)
                if label:
                    other = number
                    while other == number:
                        other = rng.randrange(len(documents))
                    start = rng.randrange(len(documents[other]))
                    for text in documents[other][start:]:
                        b += text
                        if len(b) >= target - len(a):
                            break
                    i -= len(chunk) - a_end
                else:
                    b = sum(chunk[a_end:], [])
                while len(a) + len(b) > limit:
                    longer = a if len(a) > len(b) else b
                    longer.pop(0 if rng.random() < 0.5 else -1)
                made.append((label, len(a), len(b)))
                chunk = []
            i += 1
    return made


def test_next_sentence_follows_the_published_algorithm() -> None:
    corpus = _corpus()
    ours = _build(corpus, seq_length=64, dupe_factor=40)
    rng = random.Random(1)
    theirs = np.array(
        [r for _ in range(40) for r in _published(corpus, 61, 0.1, rng)]
    )
    sizes = np.stack([ours.spans[:, 1], ours.spans[:, 3]], 1)
    sizes -= np.stack([ours.spans[:, 0], ours.spans[:, 2]], 1)
    assert ours.count == pytest.approx(len(theirs), rel=0.01)
    share = theirs[:, 0].mean()
    error = 4 * np.sqrt(2 * share * (1 - share) / len(theirs))
    assert abs(ours.labels.mean() - share) < error
    assert share > 0.5
    for side in range(2):
        for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
            assert np.quantile(sizes[:, side], quantile) == pytest.approx(
                np.quantile(theirs[:, side + 1], quantile), abs=1.01
            )


def test_next_sentence_pairs() -> None:
    corpus = _corpus()
    examples = _build(corpus, seq_length=4096, short_seq_prob=0.3)
    a_start, a_end, b_start, b_end = examples.spans.T
    follows = examples.labels == 0
    assert (a_end > a_start).all()
    assert (b_end > b_start).all()
    assert (a_end == b_start)[follows].all()
    assert set(a_start.tolist() + b_start.tolist()) <= set(corpus[1].tolist())
    same = _document_of(corpus, a_start) == _document_of(corpus, b_start)
    assert (same == follows).all()


@pytest.mark.parametrize("objective", ["nsp", "sop"])
@pytest.mark.parametrize("seq_length", [8, 9, 32])
def test_pairs_fit(objective: str, seq_length: int) -> None:
    examples = _build(
        _corpus(), seq_length=seq_length, pair_objective=objective
    )
    a_start, a_end, b_start, b_end = examples.spans.T
    assert (a_end > a_start).all()
    assert (b_end > b_start).all()
    assert (a_end - a_start + b_end - b_start).max() == seq_length - 3


def test_truncation_equals_the_loop() -> None:
    rng = random.Random(0)
    for a_size in range(1, 14):
        for b_size in range(1, 14):
            for limit in range(2, 16):
                spans = instances._truncate(
                    100, 100 + a_size, 200, 200 + b_size, limit, rng
                )
                a, b = a_size, b_size
                while a + b > limit:
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                assert (spans[1] - spans[0], spans[3] - spans[2]) == (a, b)
                assert 100 <= spans[0] <= spans[1] <= 100 + a_size
                assert 200 <= spans[2] <= spans[3] <= 200 + b_size


def test_truncation_takes_front_and_back_equally() -> None:
    rng = random.Random(0)
    front = [
        instances._truncate(0, 20, 30, 35, 15, rng)[0] for _ in range(4000)
    ]
    assert np.mean(front) == pytest.approx(5, abs=0.1)
    assert np.var(front) == pytest.approx(10 / 4, rel=0.1)


def test_sentence_order() -> None:
    corpus = _corpus()
    examples = _build(corpus, seq_length=4096, pair_objective="sop")
    a_start, a_end, b_start, b_end = examples.spans.T
    swapped = examples.labels == 1
    assert (b_end == a_start)[swapped].all()
    assert (a_end == b_start)[~swapped].all()
    error = 4 * np.sqrt(0.25 / examples.count)
    assert abs(swapped.mean() - 0.5) < error
    same = _document_of(corpus, a_start) == _document_of(corpus, b_start)
    assert same.all()


def test_sentence_order_of_single_sentences() -> None:
    borders = np.arange(4)
    tokens = np.arange(21, dtype=np.int32)
    corpus = (tokens, np.array([0, 10, 11, 21]), borders)
    examples = _build(corpus, seq_length=32, pair_objective="sop")
    assert examples.count == 20  # the document of one token has no order
    sizes = examples.spans[:, [1, 3]] - examples.spans[:, [0, 2]]
    assert (sizes.sum(1) == 10).all()


def test_single_segments_cover_the_text_once() -> None:
    corpus = _corpus(longest=60)
    examples = _build(
        corpus,
        seq_length=32,
        pair_objective="none",
        dupe_factor=1,
        short_seq_prob=0.0,
    )
    order = np.argsort(examples.spans[:, 0])
    starts, ends = examples.spans[order, 0], examples.spans[order, 1]
    assert starts[0] == 0
    assert (ends[:-1] == starts[1:]).all()
    assert ends[-1] == len(corpus[0])
    assert (ends - starts).max() == 30
    borders = set(corpus[1].tolist())
    # Cut inside a sentence only where one fills a whole row.
    assert all(
        end in borders or end - start == 30
        for start, end in zip(starts, ends, strict=True)
    )
    one = _document_of(corpus, starts) == _document_of(corpus, ends - 1)
    assert one.all()


def test_short_sequences() -> None:
    corpus = _corpus(documents=1000)
    examples = _build(
        corpus, seq_length=16, pair_objective="none", short_seq_prob=1.0
    )
    sizes = examples.spans[:, 1] - examples.spans[:, 0]
    assert sizes.max() == 14
    assert sizes.mean() < 10


def test_seed_and_block_key_the_examples() -> None:
    corpus = _corpus()
    settings = InstanceSettings(seed=3)
    first = instances.build_examples(
        *corpus, settings, settings.seq_length - 3, 1
    )
    again = instances.build_examples(
        *corpus, settings, settings.seq_length - 3, 1
    )
    np.testing.assert_array_equal(first.spans, again.spans)
    np.testing.assert_array_equal(first.labels, again.labels)
    for other, block in ((settings, 2), (InstanceSettings(seed=4), 1)):
        examples = instances.build_examples(
            *corpus, other, settings.seq_length - 3, block
        )
        assert not np.array_equal(examples.spans[:50], first.spans[:50])


@pytest.mark.parametrize("objective", config.PAIR_OBJECTIVES)
def test_one_document_and_no_document(objective: str) -> None:
    one = _corpus(documents=1)
    assert _build(one, pair_objective=objective).count > 0
    empty = (np.zeros(0, np.int32), np.zeros(1, int), np.zeros(1, int))
    assert _build(empty, pair_objective=objective).spans.shape == (0, 4)


_ROWS = RowTemplate(pad=900, opens=(901,), between=(902,), closes=(902,))


def test_assemble_pairs() -> None:
    rows, firsts, totals = instances.assemble(
        tf.range(10, 20), tf.constant([[0, 2, 5, 8], [9, 10, 0, 1]]),
        9, _ROWS, True,
    )  # fmt: skip
    np.testing.assert_array_equal(
        rows,
        [
            [901, 10, 11, 902, 15, 16, 17, 902, 900],
            [901, 19, 902, 10, 902, 900, 900, 900, 900],
        ],
    )
    np.testing.assert_array_equal(firsts, [4, 3])
    np.testing.assert_array_equal(totals, [8, 5])


def test_assemble_single_segments() -> None:
    rows, _, totals = instances.assemble(
        tf.range(10, 20), tf.constant([[7, 10, 10, 10]]), 6, _ROWS, False
    )
    np.testing.assert_array_equal(rows, [[901, 17, 18, 19, 902, 900]])
    np.testing.assert_array_equal(totals, [5])


def test_assemble_rows_with_two_tokens_between_and_none_before() -> None:
    pairs = tf.constant([[0, 2, 5, 8]])
    template = RowTemplate(pad=9, between=(7, 8), closes=(6, 5))
    for paired, row in (
        (True, [10, 11, 7, 8, 15, 16, 17, 6, 5, 9]),
        (False, [10, 11, 6, 5, 9, 9, 9, 9, 9, 9]),
    ):
        rows, firsts, totals = instances.assemble(
            tf.range(10, 20), pairs, 10, template, paired
        )
        np.testing.assert_array_equal(rows, [row])
        np.testing.assert_array_equal(firsts, [4])
        np.testing.assert_array_equal(totals, [row.index(9)])


def test_sentences_without_tokens_are_left_out() -> None:
    class Letters:
        def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
            split = tf.strings.unicode_decode(text, "UTF-8")
            return tf.ragged.boolean_mask(split, split != ord("-"))

    documents = [[b"ab", b"--", b"c"], [b"-"], [b"d"]]
    ids, sentences, borders = instances.tokenize_documents(
        documents,
        Letters(),  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(ids, [97, 98, 99, 100])
    np.testing.assert_array_equal(sentences, [0, 2, 3, 4])
    np.testing.assert_array_equal(borders, [0, 2, 3])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq_length", 7),
        ("pair_objective", "next"),
        ("short_seq_prob", 1.5),
        ("dupe_factor", 0),
    ],
)
def test_bad_settings(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{name}`.*Received: '?{value}"):
        InstanceSettings(**{name: value})
