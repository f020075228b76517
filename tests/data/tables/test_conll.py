"""Tests of CoNLL files as sentences and as records."""

import json
import pathlib
from typing import Any

import pytest

from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.read import read_records
from tfllm.data.labelled.records.record import Record
from tfllm.data.tables.config import TableConfig
from tfllm.data.tables.conll import parse_sentences


def sentences(
    text: str, columns: tuple[int, ...] = (0, -1), bad: BadRecords | None = None
) -> list[tuple[str, ...]]:
    found = parse_sentences(
        text.splitlines(keepends=True),
        "file",
        columns,
        "",
        bad or BadRecords("fail"),
    )
    return [tuple(map(" ".join, sentence.columns)) for sentence in found]


def records(
    path: pathlib.Path, bad: BadRecords | None = None, **settings: Any
) -> list[Record]:
    config = LabelledDataConfig(task="tagging", **settings)
    return list(read_records(str(path), config, bad or BadRecords("fail")))


def words_of(record: Record) -> list[str]:
    return [record.texts[0][start:end] for start, end in record.words]


def test_conll_2003() -> None:
    text = (
        "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n"
        "# NN I-NP O\n1 CD I-NP O\n"
    )
    assert sentences(text) == [("EU rejects", "I-ORG O"), ("# 1", "O O")]


def test_tabs_part_columns_even_beside_spaces() -> None:
    text = "#\tO\n#tag\tO\nNew York\tB-X\n\t\n\ny\tO\n"
    assert sentences(text) == [("# #tag New York", "O O B-X"), ("y", "O")]


# Python's `str.split` and `str.splitlines` cut at all of these.
UNICODE_SPACES = "\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2003\u2028\u2029\u3000"


@pytest.mark.parametrize("space", UNICODE_SPACES)
@pytest.mark.parametrize("gap", [" ", "\t", " \t "])
def test_only_spaces_and_tabs_part_columns(
    space: str, gap: str, tmp_path: pathlib.Path
) -> None:
    words = [f"10{space}000", f"{space}x", space]
    path = tmp_path / "a.conll"
    path.write_text(
        "".join(f"{word}{gap}O\r\n" for word in words) + f" \t\n\ny{gap}O\n",
        encoding="utf-8",
        newline="",
    )
    first, second = records(path)
    assert words_of(first) == words
    assert first.gold == ("O", "O", "O")
    assert words_of(second) == ["y"]
    assert second.where.endswith("line 6")


def test_words_and_tags_of_a_text_are_cut_alike(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {"text": f"a{UNICODE_SPACES}b\tc", "label": "O \n B-X"}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    (record,) = records(path)
    assert words_of(record) == [f"a{UNICODE_SPACES}b", "c"]
    assert record.gold == ("O", "B-X")


def test_comments_and_conll_u() -> None:
    columns = "\t_" * 6
    text = (
        "# sent_id = 1\n# text = vámonos al mar\n"
        f"1-2\tvámonos\t_\t_{columns}\n"
        f"1\tvamos\tir\tVERB{columns}\n2\tnos\tnosotros\tPRON{columns}\n"
        f"2.1\tx\tx\tX{columns}\n"
    )
    assert sentences(text, (1, 3)) == [("vamos nos", "VERB PRON")]
    assert sentences("# a comment\nx O\n# two words more\ny O\n") == [
        ("x y", "O O")
    ]
    assert sentences("x\n#\n#tag\n# a comment\n", (0,)) == [("x # #tag",)]


def test_bad_lines() -> None:
    text = "a O\nb\n\nc O\n"
    with pytest.raises(ValueError, match="file, line 2: no column 1 among 1"):
        sentences(text, (0, 1))
    bad = BadRecords("skip")
    assert sentences(text, (0, 1), bad) == [("c", "O")]
    assert bad.counts == {"file": 1}
    # A word without its tag, which would be a tag itself.
    with pytest.raises(ValueError, match="line 2: no column -1: 1 of 2"):
        sentences("Paris B-X\nnice\n")
    with pytest.raises(ValueError, match="line 2: column 0 is blank"):
        sentences("a\tO\n\tO\n")


def test_words_stand_in_the_text(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("Zoë B-P\nné O\n\nx O\n", encoding="utf-8")
    first, second = records(path)
    assert first == Record(
        "0", f"{path}, line 1", ("Zoë né",), ("B-P", "O"), ((0, 3), (4, 6))
    )
    assert (second.id, second.where) == ("1", f"{path}, line 4")


def test_iob1_is_read_as_bio_and_mistakes_say_where(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a I-X\nb B-X\n\nc O\n")
    assert [r.gold for r in records(path)] == [("B-X", "B-X"), ("O",)]
    with pytest.raises(ValueError, match=r"a\.txt, line 1: word 1: .*'I-X'"):
        records(path, tag_scheme="bio")
    path.write_text("a B-X\n\nb O\nc I-X\n\nd O\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 4: word 2: .*'I-X'"):
        records(path)
    bad = BadRecords("skip")
    assert [(r.id, r.texts) for r in records(path, bad)] == [
        ("0", ("a",)),
        ("1", ("d",)),
    ]
    assert bad.counts == {str(path): 1}
    assert len(records(path, tag_scheme="none")) == 3


def test_predicates(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("He - B-A0\nate eat B-V\nit - B-A1\n")
    (record,) = records(path, predicate_column="1")
    assert record.predicate == 1
    path.write_text("He - O\nate eat O\nran run O\n")
    with pytest.raises(ValueError, match="2 words are marked"):
        records(path, predicate_column="1")
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "a b", "label": "O O", "p": 1}))
    (record,) = records(path, predicate_column="p")
    assert record.predicate == 1
    path.write_text(json.dumps({"text": "a b", "label": "O O", "p": 2}))
    with pytest.raises(ValueError, match="number of a word, from 0, not 2"):
        records(path, predicate_column="p")


def test_tables_are_no_conll(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.tab"
    path.write_text("text\tlabel\na b\tO O\n")
    assert records(path)[0].texts == ("a b",)
    path = tmp_path / "a.json"
    path.write_text('{"text": ["a"], "label": ["O"]}\n')
    assert records(path)[0].texts == ("a",)
    with pytest.raises(ValueError, match=r"one kind. Received: a.txt,b.csv"):
        records(pathlib.Path("a.txt,b.csv"))


def test_json_lists_and_texts(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        {"text": ["a", "b c"], "label": ["O", "B-X"], "id": 7},
        {"text": " a  b", "label": "B-X O", "id": "x"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    first, second = records(path, id_column="id")
    assert (first.texts, first.words) == (("a b c",), ((0, 1), (2, 5)))
    assert (second.texts, second.words) == ((" a  b",), ((1, 2), (4, 5)))
    assert (first.id, second.id) == ("7", "x")
    for fields, reason in [
        ({"text": "a b", "label": "O"}, "1 tags for 2 words"),
        ({"text": [], "label": []}, "holds no word"),
        ({"text": ["a", " "], "label": "O O"}, "a list of words"),
        ({"text": "a", "label": 3}, "a list or text, not 3"),
    ]:
        path.write_text(json.dumps(fields))
        with pytest.raises(ValueError, match=f"line 1: .*{reason}"):
            records(path)


def test_text_without_tags(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Anna ran.\n\nYes\n")
    first, second = records(path, label_column="")
    assert first.gold is None
    assert [first.texts[0][a:b] for a, b in first.words] == ["Anna", "ran", "."]
    assert second.where == f"{path}, line 3"
    path = tmp_path / "a.conll"
    path.write_text("Anna\nran\n")
    (record,) = records(path, label_column="")
    assert (record.texts, record.gold) == (("Anna ran",), None)


def test_settings() -> None:
    with pytest.raises(ValueError, match="`tag_scheme`"):
        LabelledDataConfig(task="tagging", tag_scheme="bios")
    with pytest.raises(ValueError, match="`predicate_column`"):
        LabelledDataConfig(predicate_column="1")
    with pytest.raises(ValueError, match="`format` conll"):
        LabelledDataConfig(table=TableConfig(format="conll"))
    with pytest.raises(ValueError, match="`text_column` .*'word'"):
        records(pathlib.Path("a.conll"), text_column="word")
