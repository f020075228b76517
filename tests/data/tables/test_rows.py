"""Tests of tfllm.data.tables.rows and tfds."""

import pathlib
import sys
from typing import Any

import numpy as np
import pytest

from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.tables.config import TableConfig
from tfllm.data.tables.rows import read_rows


def rows(
    path: pathlib.Path | str,
    columns: tuple[str, ...] = (),
    bad: BadRecords | None = None,
    **settings: Any,
) -> list[tuple[int, dict[str, Any]]]:
    config = TableConfig(**settings)
    bad = bad or BadRecords("fail")
    return [
        (row.line, row.fields)
        for row in read_rows(str(path), columns, config, bad)
    ]


def write(tmp_path: pathlib.Path, name: str, text: str) -> pathlib.Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_csv_with_quotes_and_lines_in_them(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path,
        "a.csv",
        'text,label\r\n"one, ""two""\r\nthree",x\r\n\r\nfour,y\r\n',
    )
    assert rows(path, ("text",)) == [
        (2, {"text": 'one, "two"\r\nthree', "label": "x"}),
        (5, {"text": "four", "label": "y"}),
    ]


def test_quotes_off_are_characters(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, "a.tsv", 'x\t"bare\ny\tquote"\n')
    assert rows(path, ("0", "1")) == [
        (1, {"0": "x", "1": '"bare'}),
        (2, {"0": "y", "1": 'quote"'}),
    ]
    assert len(rows(path, ("0", "1"), quotes=True)) == 1
    path = write(tmp_path, "a.tsv", 'w\tv\nx\t"bare\ny\tquote\n')
    with pytest.raises(ValueError, match=r"a\.tsv, line 2: unexpected end"):
        rows(path, ("0",), quotes=True)
    # A quote that does not open a field is a character anyway.
    path = write(tmp_path, "b.csv", 'x,5" disk\n')
    assert rows(path, ("0",)) == [(1, {"0": "x", "1": '5" disk'})]


def test_a_stray_quote_costs_its_own_line(tmp_path: pathlib.Path) -> None:
    good = [f"text {i},ham\n" for i in range(50)]
    lines = ["text,label\n", '"oops,ham\n', *good, 'a "b" c,ham\n']
    lines += ['"two\n', 'lines",spam\n', '"never closed,ham\n', "last,spam\n"]
    path = write(tmp_path, "a.csv", "".join(lines))
    bad = BadRecords("skip")
    found = rows(path, ("text",), bad)
    assert bad.counts == {str(path): 2}
    expected = [(3 + i, f"text {i}") for i in range(50)]
    expected += [(53, 'a "b" c'), (54, "two\nlines"), (57, "last")]
    assert [(line, fields["text"]) for line, fields in found] == expected


def test_the_format_of_a_file_without_a_known_suffix(
    tmp_path: pathlib.Path,
) -> None:
    for name in ("a.json", "a.data"):
        path = write(tmp_path, name, '{"text": "a"}\n\n{"text": "b"}\n')
        assert [fields for _, fields in rows(path)] == [
            {"text": "a"},
            {"text": "b"},
        ]
    path = write(tmp_path, "b.data", "text,label\nhello,ham\n")
    assert rows(path, ("text",)) == [(2, {"text": "hello", "label": "ham"})]
    # A comma alone makes no table.
    path = write(tmp_path, "c.data", "Well, text\n{x\n")
    assert rows(path, ("label",)) == [
        (1, {"text": "Well, text"}),
        (2, {"text": "{x"}),
    ]


def test_a_csv_that_holds_tabs_is_cut_at_them(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, "a.csv", "x\ty, z\nv\tw\n")
    assert rows(path, ("0",)) == [
        (1, {"0": "x", "1": "y, z"}),
        (2, {"0": "v", "1": "w"}),
    ]
    path = write(tmp_path, "b.csv", "a;b,c;d\n1;2;3\n")
    assert rows(path, ("a",)) == [(2, {"a": "1", "b,c": "2", "d": "3"})]
    assert rows(path, ("0",), delimiter="comma")[0][1] == {
        "0": "a;b",
        "1": "c;d",
    }
    path = write(tmp_path, "c.txt", "1|2\n")
    assert rows(path, ("0",), delimiter="|") == [(1, {"0": "1", "1": "2"})]


def test_a_header_is_there_if_a_column_has_a_name(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path, "a.tsv", "n\ttext\n1\tone\n")
    assert len(rows(path, ("0", "text"))) == 1
    assert len(rows(path, ("0", "1"))) == 2
    assert len(rows(path, ("0", "1"), has_header=True)) == 1


def test_a_missing_column_names_the_nearest(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, "a.csv", "sentence,label\nx,y\n")
    with pytest.raises(ValueError, match="did you mean 'sentence'"):
        rows(path, ("sentense",))
    path = write(tmp_path, "b.csv", "a,b,a\n1,2,3\n")
    with pytest.raises(ValueError, match="'a' twice"):
        rows(path, ("b",))


def test_a_table_without_a_header_names_the_flags(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path, "a.csv", "a b c d e f g h i j k l m n o p q r,x\n")
    with pytest.raises(ValueError, match="--text_column=0 --label_col") as e:
        rows(path, ("text", "label"))
    # The first row is a text, and cut.
    assert "among 'a b c d e f g h i j k l m n o p q r', 'x'. " in str(e.value)
    write(tmp_path, "a.csv", f"{'x' * 300},y\n")
    with pytest.raises(ValueError, match=f"among '{'x' * 40}\\.\\.\\.', 'y'"):
        rows(path, ("text", "label"))
    write(tmp_path, "a.csv", "a,a\n")
    with pytest.raises(ValueError, match="--text_column=0 --label_column=1"):
        rows(path, ("text", "label"))
    assert rows(path, ("0", "1")) == [(1, {"0": "a", "1": "a"})]


def test_columns_by_name_and_number(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, "a.csv", ",text\n0,one\n")
    (row,) = read_rows(str(path), ("text",), TableConfig(), BadRecords("fail"))
    assert row.get("text") == row.get("1") == "one"
    assert row.get("0") == "0"  # the column without a name
    assert row.where == f"{path}, line 2"
    with pytest.raises(BadRecord, match="'2'"):
        row.get("2")
    # The order of the fields of JSON means nothing.
    path = write(tmp_path, "a.jsonl", '{"text": "one"}')
    (row,) = read_rows(str(path), ("0",), TableConfig(), BadRecords("fail"))
    with pytest.raises(BadRecord, match="'0'"):
        row.get("0")


def test_bad_rows_fail_with_their_line_or_are_counted(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,b\nc\nd,e,f\ng,h\n")
    with pytest.raises(ValueError, match=r"a\.csv, line 3: 1 columns"):
        rows(path, ("text",))
    bad = BadRecords("skip")
    found = rows(path, ("text",), bad)
    assert [line for line, _ in found] == [2, 5]
    assert bad.counts == {str(path): 2}


def test_jsonl(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path,
        "a.jsonl",
        '{"text": "a\u2028b", "label": 1}\n\n[1]\n{"text"\n{"text": "c"}\r\n',
    )
    with pytest.raises(ValueError, match="line 3: not a JSON object"):
        rows(path)
    bad = BadRecords("skip")
    assert rows(path, bad=bad) == [
        (1, {"text": "a\u2028b", "label": 1}),
        (5, {"text": "c"}),
    ]
    assert bad.counts.total() == 2


def test_plain_text_and_patterns(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, "a.txt", "DESC:manner How so ?\n\nHUM:x Who ?\n")
    assert rows(path) == [
        (1, {"text": "DESC:manner How so ?"}),
        (3, {"text": "HUM:x Who ?"}),
    ]
    pattern = r"(?P<label>\w+):(?P<fine>\S+) (?P<text>.+)"
    assert rows(path, line_pattern=pattern)[1] == (
        3,
        {"label": "HUM", "fine": "x", "text": "Who ?"},
    )
    with pytest.raises(ValueError, match="line 1: .* does not match"):
        rows(path, line_pattern="(?P<text>HUM.*)")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "xlsx"),
        ("delimiter", "ab"),
        ("line_pattern", "("),
        ("line_pattern", "a(b)"),
        ("on_bad_record", "repair"),
    ],
)
def test_settings_are_checked(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"`{name}`"):
        TableConfig(**{name: value})  # type: ignore[arg-type]


class _Names:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class _Datasets:
    """What is used of TensorFlow Datasets."""

    @staticmethod
    def load(name: str, split: str, **_: Any) -> Any:
        assert (name, split) == ("glue/sst2", "train[:2]")
        info = type("Info", (), {})()
        info.features = {
            "more": object(),
            "sentence": object(),
            "label": _Names(["neg", "pos"]),
            "tags": type("Sequence", (), {"feature": _Names(["x", "y"])})(),
        }
        return [
            {
                "sentence": b"caf\xc3\xa9",
                "label": np.int64(label),
                "tags": np.array([1, 0]),
                "more": {"a": np.array([b"x"], object)},
            }
            for label in (1, -1)
        ], info

    as_numpy = staticmethod(lambda examples: examples)


def test_tfds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", _Datasets)
    found = rows("tfds:glue/sst2/train[:2]", ("sentence",))
    others = {"tags": ["y", "x"], "more": {"a": ["x"]}}
    assert found == [
        (1, {"sentence": "café", "label": "pos", **others}),
        (2, {"sentence": "café", "label": None, **others}),
    ]
    with pytest.raises(ValueError, match="tfds:NAME/SPLIT"):
        rows("tfds:glue")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match="pip install"):
        rows("tfds:glue/sst2/train")


def test_half_of_a_surrogate_pair(tmp_path: pathlib.Path) -> None:
    lines = '{"text": "\\ud83d\\ude00"}\n{"text": "a", "b": ["\\ud83d"]}\n'
    path = write(tmp_path, "a.jsonl", lines)
    with pytest.raises(
        ValueError,
        match=r"a\.jsonl, line 2: column 'b' has half of a surrogate",
    ):
        rows(path, ("text",))
    bad = BadRecords("skip")
    assert len(rows(path, ("text",), bad)) == 1
    assert bad.counts == {str(path): 1}
