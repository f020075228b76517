"""Reads public sets as they are, with their oddities and known counts."""

import collections
import pathlib
from typing import Any

import numpy as np
import pytest

from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled.batches import NO_RECORD, LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.read import read_records
from tfllm.data.labelled.records.record import Record
from tfllm.data.tables.config import TableConfig
from tfllm.tokenizers import ByteBPETokenizer, WordPieceTokenizer

DATA = pathlib.Path(__file__).parents[5] / "shared" / "data"
TREC = TableConfig(line_pattern=r"(?P<label>\w+):(?P<fine>\S+) (?P<text>.+)")
SMS = LabelledDataConfig(text_column="1", label_column="0")
STSB = LabelledDataConfig(
    task="regression", text_column="5", text_pair_column="6", label_column="4"
)
SICK = LabelledDataConfig(
    text_column="sentence_A",
    text_pair_column="sentence_B",
    label_column="entailment_judgment",
    id_column="pair_ID",
)


def read(name: str, config: LabelledDataConfig) -> list[Record]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs the data set {name}, which is not here")
    return list(read_records(str(path), config, BadRecords("fail")))


def test_trec() -> None:
    config = LabelledDataConfig(table=TREC)
    train = read("trec_qc/train.txt", config)
    assert len(train) == 5452
    assert collections.Counter(record.gold for record in train) == {
        "ABBR": 86,
        "DESC": 1162,
        "ENTY": 1250,
        "HUM": 1223,
        "LOC": 835,
        "NUM": 896,
    }
    assert any("sister\xf0city" in record.texts[0] for record in train)
    assert len(read("trec_qc/test.txt", config)) == 500
    fine = LabelledDataConfig(table=TREC, label_column="fine")
    assert train[1].texts == (
        "What films featured the character Popeye Doyle ?",
    )
    assert read("trec_qc/train.txt", fine)[1].gold == "cremat"


def test_sms() -> None:
    found = read("sms_spam/sms.tsv", SMS)
    counts = collections.Counter(record.gold for record in found)
    assert counts == {"ham": 4827, "spam": 747}
    assert found[-1].texts == ("Rofl. Its true to its name",)


@pytest.mark.parametrize(
    ("name", "count"), [("train", 5749), ("dev", 1500), ("test", 1379)]
)
def test_stsb(name: str, count: int) -> None:
    found = read(f"stsb/sts-{name}.csv", STSB)
    assert len(found) == count
    assert all(0 <= record.gold <= 5 for record in found)


@pytest.mark.parametrize(
    ("name", "count"),
    [("train", 4500), ("trial", 500), ("test_annotated", 4927)],
)
def test_sick(name: str, count: int) -> None:
    found = read(f"sick/SICK_{name}.txt", SICK)
    assert len(found) == count
    assert {record.gold for record in found} == {
        "CONTRADICTION",
        "ENTAILMENT",
        "NEUTRAL",
    }
    assert not any("\r" in text for record in found for text in record.texts)


def test_waimai() -> None:
    config = LabelledDataConfig(text_column="review")
    found = read("waimai_10k/waimai_10k.csv", config)
    assert collections.Counter(record.gold for record in found) == {
        "1": 4000,
        "0": 7987,
    }
    assert found[0].texts == ("很快，好吃，味道足，量大",)


@pytest.mark.parametrize(
    ("name", "count", "entities"),
    [("train", 3394, 1975), ("dev", 1009, 836), ("test", 1287, 1079)],
)
def test_wnut(name: str, count: int, entities: int) -> None:
    config = LabelledDataConfig(task="tagging")
    found = read(f"wnut17/{name}.conll", config)
    assert len(found) == count
    tags = [tag for record in found for tag in record.gold]
    assert sum(tag.startswith("B-") for tag in tags) == entities
    assert {tag[2:] for tag in tags} == {
        "",
        "corporation",
        "creative-work",
        "group",
        "location",
        "person",
        "product",
    }
    for record in found:
        words = record.texts[0].split(" ")
        assert words == [record.texts[0][a:b] for a, b in record.words]


@pytest.mark.parametrize(
    ("name", "count", "answered"),
    [
        ("squad_v2_cs224n/dev-v2.0.cs224n.json", 6078, 2910),
        ("xquad/xquad.en.json", 1190, 1190),
        ("xquad/xquad.zh.json", 1190, 1190),
    ],
)
def test_squad(name: str, count: int, answered: int) -> None:
    config = LabelledDataConfig(task="question_answering")
    found = read(name, config)
    assert len(found) == count
    assert sum(bool(record.gold) for record in found) == answered


@pytest.mark.parametrize(
    ("name", "answers", "kind"),
    [
        ("squad_v2_cs224n/dev-v2.0.cs224n.json", 2910, "wordpiece"),
        ("xquad/xquad.zh.json", 1190, "wordpiece"),
        ("xquad/xquad.en.json", 1190, "byte_bpe"),
    ],
)
def test_answers_of_squad_are_found_again(
    name: str,
    answers: int,
    kind: str,
    tokenizer: WordPieceTokenizer,
    byte_bpe: ByteBPETokenizer,
) -> None:
    own: Any = tokenizer if kind == "wordpiece" else byte_bpe
    # Bytes are many tokens: windows as long as an encoder's are in text.
    size = 1 if kind == "wordpiece" else 4
    config = LabelledDataConfig(
        task="question_answering",
        seq_length=384 * size,
        question_length=64 * size,
        stride=128 * size,
    )
    records = read(name, config)
    data = LabelledData(records, own, config)
    found = {}
    for _, y, _, numbers, marks in data.evaluation_rows():
        for i in np.flatnonzero(y["start"] != marks["null"]):
            offsets = marks["offsets"][i]
            start, end = offsets[y["start"][i], 0], offsets[y["end"][i], 1]
            if numbers[i] != NO_RECORD:
                context = records[numbers[i]].texts[1]
                found[int(numbers[i])] = context[start:end]
    assert len(found) == answers
    golds = {n: records[n].gold[0].text.strip() for n in found}
    assert all(golds[n] in text for n, text in found.items())
    # Words that hold more than the answer, as Japanese does Japan.
    assert sum(golds[n] != text for n, text in found.items()) <= 6
