"""Tests of tfllm.data.labelled.rows.tagging against plain Python."""

import collections
import random
from typing import Any

import numpy as np
import pytest

from tests.data.labelled.test_batches import take
from tfllm.data.labelled.batches import NO_RECORD, LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.records.tagging import tagging_record
from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.data.labelled.rows.byte_places import byte_places, character_places
from tfllm.tokenizers import ByteBPETokenizer, WordPieceTokenizer

WORDS = ["bade", "kilomu", "x", "né", "\u200b", "poba", "Zoë", ".", "我们", "𝒳"]
# Spaces of Unicode that are part of a word, and one that is all of it.
WORDS += ["lo\u00a0mu", "ba\u2028de", "x\x1fy", "né\u3000po", "\x85k", "\u2003"]
TAGS = ["O", "B-X", "I-X"]


def config(**settings: Any) -> LabelledDataConfig:
    return LabelledDataConfig(
        **{"task": "tagging", "seq_length": 12, "batch_size": 4, **settings}
    )


def some_records(count: int, longest: int) -> list[Record]:
    rng = random.Random(5)
    found = []
    for i in range(count):
        words = rng.choices(WORDS, k=rng.randint(1, longest))
        tags = [rng.choice(TAGS) for _ in words]
        found.append(tagging_record(words, tags, id=str(i)))
    return found


def first_pieces(tokenizer: Any, record: Record) -> dict[int, int]:
    """Token -> the word that begins with it."""
    text = record.texts[0]
    _, starts, ends = (
        part[0].numpy() for part in tokenizer.tokenize_with_offsets([text])
    )
    found, taken = {}, set()
    for token, (start, end) in enumerate(zip(starts, ends, strict=True)):
        for word, (first, last) in enumerate(record.words):
            low = len(text[:first].encode())
            high = len(text[:last].encode())
            if start < high and low < end:
                if word not in taken:
                    found[token] = word
                    taken.add(word)
                break
    return found


def best_windows(length: int, room: int, stride: int) -> list[int]:
    """The window where each token has most context."""
    starts = [0]
    while starts[-1] + room < length:
        starts.append(starts[-1] + stride)
    best = []
    for token in range(length):
        contexts = [
            min(token - start, min(start + room, length) - 1 - token)
            for start in starts
        ]
        best.append(contexts.index(max(contexts)))
    return best


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_first_pieces_have_the_tags(
    kind: str, tokenizer: WordPieceTokenizer, byte_bpe: ByteBPETokenizer
) -> None:
    own: Any = tokenizer if kind == "wordpiece" else byte_bpe
    room = 10 if kind == "wordpiece" else 12
    records = some_records(40, 14)
    data = LabelledData(records, own, config(stride=4))
    assert data.labels == ("B-X", "I-X", "O")
    assert data.num_examples > 60
    seen: dict[int, dict[int, int]] = collections.defaultdict(dict)
    rows: collections.Counter[int] = collections.Counter()
    for x, y, weights, numbers, marks in data.evaluation_rows():
        real = numbers != NO_RECORD
        assert not weights["tagging"][~real].any()
        for i in np.flatnonzero(real):
            rows[numbers[i]] += 1
            counts = weights["tagging"][i] > 0
            words = marks["words"][i]
            assert (counts == (words >= 0)).all()
            assert not y["tagging"][i][~counts].any()
            for place in np.flatnonzero(counts):
                word = int(words[place])
                assert word not in seen[numbers[i]]
                seen[numbers[i]][word] = int(x["token_ids"][i, place])
                label = data.labels[y["tagging"][i, place]]
                assert label == records[numbers[i]].gold[word]
    for number, record in enumerate(records):
        ids = own.tokenize([record.texts[0]])[0].numpy()
        firsts = first_pieces(own, record)
        assert seen[number] == {w: ids[t] for t, w in firsts.items()}
        windows = best_windows(len(ids), room, 4)
        assert rows[number] == 1 + max(windows, default=0)


def test_a_word_counts_where_it_has_most_context(
    tokenizer: WordPieceTokenizer,
) -> None:
    record = tagging_record(["ba"] * 27, ["O"] * 27)
    data = LabelledData([record], tokenizer, config(stride=4, batch_size=8))
    batches = list(data.evaluation_rows())
    assert len(batches) == 1
    _, _, _, numbers, marks = batches[0]
    found = {
        int(word): row
        for row in range(int((numbers == 0).sum()))
        for word in marks["words"][row]
        if word >= 0
    }
    assert [found[word] for word in range(27)] == best_windows(27, 10, 4)


def test_half_a_window_is_the_usual_stride(
    tokenizer: WordPieceTokenizer,
) -> None:
    record = tagging_record(["ba"] * 27, ["O"] * 27)
    data = LabelledData([record], tokenizer, config())
    assert data.num_examples == 1 + len(range(5, 27 - 10 + 5, 5))


def test_without_gold_and_with_words_that_vanish(
    tokenizer: WordPieceTokenizer, byte_bpe: ByteBPETokenizer
) -> None:
    text = "It's ba."
    record = Record("0", "", (text,), None, word_spans(text))
    expected = {tokenizer: [0, 1, 2, 3, 4], byte_bpe: [0, 1, 3, 4]}
    # For byte-level BPE 's is one piece, so the word s has none.
    for own, words in expected.items():
        data = LabelledData([record], own, config(batch_size=1))
        _, y, weights, _, marks = next(data.evaluation_rows())
        assert y == weights == {}
        found = marks["words"][0]
        assert found[found >= 0].tolist() == words


def test_predicates_are_marked(
    tokenizer: WordPieceTokenizer, byte_bpe: ByteBPETokenizer
) -> None:
    record = tagging_record(["ba", "dede", "ba"], ["O", "B-V", "O"], 1)
    ids = tokenizer.token_to_id
    data = LabelledData([record], tokenizer, config(batch_size=1))
    ((x, y, weights),) = take(data.evaluation_dataset(), 1)
    row = [2, ids("dede"), 3, ids("ba"), ids("dede"), ids("ba"), 3, 0]
    assert x["token_ids"].tolist() == [row]
    assert x["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 0, 0, 0]]
    assert weights["tagging"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0]]
    assert y["tagging"].tolist() == [[0, 0, 0, 1, 0, 1, 0, 0]]
    causal = LabelledData([record], byte_bpe, config(batch_size=1))
    ((x, _, weights),) = take(causal.evaluation_dataset(), 1)
    spelled = [byte_bpe.id_to_token(i) for i in x["token_ids"][0]]
    spelled = spelled[: x["padding_mask"].sum()]
    assert spelled[:5] == ["d", "e", "d", "e", "<|endoftext|>"]
    assert spelled[5:] == ["ba", "Ġde", "d", "e", "Ġ", "ba"]
    assert np.flatnonzero(weights["tagging"][0]).tolist() == [5, 6, 10]
    longer = tagging_record(["ba"] * 3 + ["de"] * 30, ["O"] * 33, 2)
    data = LabelledData([longer], tokenizer, config(batch_size=1))
    total = 0.0
    for x, _, weights in take(data.evaluation_dataset(), 99):
        assert x["token_ids"][0, :3].tolist() == [2, ids("ba"), 3]
        total += weights["tagging"].sum()
    assert total == 33


def test_training_batches(tokenizer: WordPieceTokenizer) -> None:
    records = some_records(30, 6)
    data = LabelledData(records, tokenizer, config())
    dataset = data.dataset()
    x, y, weights = dataset.element_spec
    assert x["token_ids"].shape == y["tagging"].shape == [4, None]
    assert weights["tagging"].shape == [4, None]
    for x, y, weights in take(dataset, 8):
        assert x["token_ids"].shape == y["tagging"].shape
        assert y["tagging"].dtype == np.int32
        assert weights["tagging"].dtype == np.float32


@pytest.mark.parametrize("text", ["", "abc", "é我𝒳x"])
def test_bytes_and_characters(text: str) -> None:
    encoded = [c.encode() for c in text]
    places = np.cumsum([0, *map(len, encoded)])
    assert byte_places(text).tolist() == places.tolist()
    inside = np.arange(places[-1])
    expected = [i for i, part in enumerate(encoded) for _ in part]
    assert character_places(text, inside).tolist() == expected
