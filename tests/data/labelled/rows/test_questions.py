"""Tests of question answering: its records and its rows."""

import json
import pathlib
import random
from typing import Any

import numpy as np
import pytest

from tests.data.labelled.test_batches import take
from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled.batches import NO_RECORD, LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.questions import GoldAnswer, question_record
from tfllm.data.labelled.records.read import read_records
from tfllm.data.labelled.records.record import Record
from tfllm.tokenizers import ByteBPETokenizer, WordPieceTokenizer
from tfllm.tokenizers.byte_pair_model import byte_symbols

WORDS = ["ba", "deki", "lo", "mu", "na", "poba", "Zoë", "x", "我"]


def config(**settings: Any) -> LabelledDataConfig:
    return LabelledDataConfig(
        **{
            "task": "question_answering",
            "seq_length": 20,
            "batch_size": 4,
            "stride": 6,
            "question_length": 4,
            **settings,
        }
    )


def answer(text: str, start: int) -> dict[str, Any]:
    return {"text": text, "answer_start": start}


def some_records(count: int) -> list[Record]:
    """Questions with an answer of one to three words, or none."""
    rng = random.Random(2)
    found = []
    for i in range(count):
        words = rng.choices(WORDS, k=rng.randint(3, 40))
        first = rng.randrange(len(words))
        last = min(first + rng.randint(1, 3), len(words))
        text = " ".join(words[first:last])
        start = len(" ".join(words[:first])) + (first > 0)
        found.append(
            question_record(
                " ".join(rng.choices(WORDS, k=rng.randint(1, 6))),
                " ".join(words),
                [answer(text, start)] if i % 4 else [],
                id=str(i),
            )
        )
    return found


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_answers_are_found_again(
    kind: str, tokenizer: WordPieceTokenizer, byte_bpe: ByteBPETokenizer
) -> None:
    own: Any = tokenizer if kind == "wordpiece" else byte_bpe
    records = some_records(60)
    # Two windows share more tokens than the longest answer has.
    size = 1 if kind == "wordpiece" else 2
    data = LabelledData(
        records, own, config(seq_length=20 * size, stride=6 * size)
    )
    assert data.num_examples > 100
    answered: set[int] = set()
    shown: dict[int, set[int]] = {i: set() for i in range(60)}
    counted: list[tuple[int, int]] = []
    for x, y, weights, numbers, marks in data.evaluation_rows():
        for i in np.flatnonzero(numbers != NO_RECORD):
            record, offsets = records[numbers[i]], marks["offsets"][i]
            context = record.texts[1]
            null = marks["null"][i]
            real = x["padding_mask"][i].sum()
            assert null == (0 if kind == "wordpiece" else real - 1)
            # Answers may stand in the context, or where there is none.
            inside = offsets[:, 0] >= 0
            allowed = set(np.flatnonzero(x["answer_mask"][i]))
            assert allowed == {*np.flatnonzero(inside), null}
            for start, end in offsets[inside]:
                assert context[start:end].strip() == context[start:end] != ""
                shown[numbers[i]].update(range(start, end))
            counted += [
                (int(numbers[i]), int(offsets[place, 0]))
                for place in np.flatnonzero(marks["widest"][i])
            ]
            start, end = y["start"][i], y["end"][i]
            if start == null:
                assert end == null
                continue
            (gold,) = record.gold
            found = context[offsets[start, 0] : offsets[end, 1]]
            assert found == gold.text
            answered.add(numbers[i])
            assert weights["start"][i] == weights["end"][i] == 1.0
    assert answered == {i for i in range(60) if i % 4}
    for number, record in enumerate(records):
        places = {i for i, c in enumerate(record.texts[1]) if c != " "}
        assert shown[number] == places
    # Each token is widest in one window (a letter may be two tokens).
    words = {pair for pair in counted if counted.count(pair) > 1}
    assert all(not records[n].texts[1][c].isascii() for n, c in words)


def test_rows_of_an_encoder(tokenizer: WordPieceTokenizer) -> None:
    ids = tokenizer.token_to_id
    record = question_record(
        " ba de ki lo mu", "na po ba", [answer(" po", 2), answer("ba", 6)]
    )
    data = LabelledData([record], tokenizer, config(batch_size=1))
    ((x, y, weights),) = take(data.evaluation_dataset(), 1)
    words = ["ba", "de", "ki", "lo", "[SEP]", "na", "po", "ba", "[SEP]"]
    row = [2, *map(ids, words)]
    assert x["token_ids"].tolist() == [row + [0] * 6]
    assert x["segment_ids"].tolist() == [[0] * 6 + [1] * 4 + [0] * 6]
    assert x["answer_mask"].tolist() == [[1] + [0] * 5 + [1] * 3 + [0] * 7]
    assert (y["start"].tolist(), y["end"].tolist()) == ([7], [7])
    assert y["start"].dtype == np.int32
    assert weights["start"].tolist() == weights["end"].tolist() == [1.0]


def test_an_answer_that_a_window_cuts_is_none_of_it(
    tokenizer: WordPieceTokenizer,
) -> None:
    words = ["ba"] * 6 + ["de", "ki", "lo", "mu"] + ["ba"] * 8
    record = question_record("na", " ".join(words), [answer("de ki lo mu", 18)])
    # Room for 8 tokens: windows from 0, 4, 8, 12.
    data = LabelledData(
        [record], tokenizer, config(seq_length=12, stride=4, batch_size=4)
    )
    ((_, y, _),) = take(data.evaluation_dataset(), 1)
    assert y["start"].tolist() == [0, 3 + 2, 0, 0]
    assert y["end"].tolist() == [0, 3 + 5, 0, 0]


def test_training_data(tokenizer: WordPieceTokenizer) -> None:
    data = LabelledData(some_records(30), tokenizer, config())
    x, y, weights = data.dataset().element_spec
    assert x["answer_mask"].shape == [4, None]
    assert y["start"].shape == weights["end"].shape == [4]
    unknown = [
        question_record(*record.texts, id=record.id)
        for record in some_records(5)
    ]
    data = LabelledData(unknown, tokenizer, config())
    assert data.records[0].gold is None
    x, y, weights, _, marks = next(data.evaluation_rows())
    assert y == weights == {}
    assert set(marks) == {"offsets", "widest", "null"}


def test_a_decoder_needs_a_token_for_no_answer() -> None:
    own = ByteBPETokenizer(byte_symbols(), [])
    with pytest.raises(ValueError, match="end-of-text"):
        LabelledData(some_records(2), own, config())


def read(
    path: pathlib.Path, bad: BadRecords | None = None, **settings: Any
) -> list[Record]:
    bad = bad or BadRecords("fail")
    return list(read_records(str(path), config(**settings), bad))


def squad(**question: Any) -> str:
    return json.dumps(
        {
            "version": "v2.0",
            "data": [
                {
                    "title": "t",
                    "paragraphs": [
                        {
                            "context": "Rome is old.",
                            "qas": [{"id": "q1", "question": "Q?", **question}],
                        }
                    ],
                }
            ],
        }
    )


def test_squad_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(squad(answers=[answer("Rome", 0), answer("old", 8)]))
    assert read(path) == [
        Record(
            "q1",
            f"{path}, paragraph 1 question q1",
            ("Q?", "Rome is old."),
            (GoldAnswer("Rome", 0), GoldAnswer("old", 8)),
        )
    ]
    assert read(path, label_column="")[0].gold is None
    path.write_text(
        squad(is_impossible=True, answers=[], plausible_answers=["x"])
    )
    assert read(path)[0].gold == ()
    path.write_text(squad())
    assert read(path, label_column="")[0].gold is None
    with pytest.raises(ValueError, match="question q1: it has neither"):
        read(path)
    for answers, reason in [
        ([answer("Rom", 1)], "does not stand at character 1 .*'ome'"),
        ([answer("", 1)], "`text` of an answer must not be ''"),
        ([{"text": "Rome"}], "must be a place, not None"),
        (["Rome"], "must be an object"),
        ("Rome", "must be a list"),
    ]:
        path.write_text(squad(answers=answers))
        with pytest.raises(ValueError, match=f"question q1: .*{reason}"):
            read(path)
        bad = BadRecords("skip")
        assert read(path, bad) == []
        assert bad.counts == {str(path): 1}


def test_squad_questions_that_are_none(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.json"
    content = json.loads(squad(answers=[answer("Rome", 0)]))
    (paragraph,) = content["data"][0]["paragraphs"]
    (good,) = paragraph["qas"]
    del good["id"]
    paragraph["qas"] = [good, "Q?", good]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="paragraph 1: .* an object: Q?"):
        read(path)
    bad = BadRecords("skip")
    # Without ids of their own they have different ones.
    assert [record.id for record in read(path, bad)] == ["0", "1"]
    assert bad.counts == {str(path): 1}


@pytest.mark.parametrize("content", ["[1]", '{"a": 1}', "{", '{"data": [1]}'])
def test_files_that_are_not_squad(content: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"a\.json"):
        read(path)


def test_rows_of_the_datasets_packages(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {
        "id": "x",
        "question": "Q?",
        "context": "Rome is old.",
        "answers": {"text": ["old"], "answer_start": [8]},
    }
    path.write_text(json.dumps(row) + "\n")
    (record,) = read(path)
    assert (record.id, record.texts, record.gold) == (
        "x",
        ("Q?", "Rome is old."),
        (GoldAnswer("old", 8),),
    )
    assert record.where == f"{path}, line 1"
    path.write_text(json.dumps(row | {"key": 7}) + "\n")
    assert read(path, id_column="key")[0].id == "7"
    path.write_text(json.dumps(row | {"answers": None}) + "\n")
    with pytest.raises(ValueError, match="line 1: 'answers' is null"):
        read(path)
    assert read(path, label_column="")[0].gold is None
    row["q"] = row.pop("question")
    path.write_text(json.dumps(row) + "\n")
    assert read(path, text_column="q")[0].texts[0] == "Q?"
    with pytest.raises(ValueError, match="line 1: no column 'question'"):
        read(path)
