"""Tests of reading files and of the in-process corpus build."""

import gzip
import json
import pathlib
import tracemalloc

import numpy as np
import pytest

from tfllm.data.corpus import builder, sources
from tfllm.data.corpus.builder import CorpusConfig
from tfllm.data.corpus.cleaning import CleaningConfig
from tfllm.data.corpus.sources import FilesConfig, RecordReader

_GUTENBERG = pathlib.Path(__file__).parents[4] / "shared/data/gutenberg"


def _sentence(i: int) -> str:
    numbers = np.random.default_rng(i).integers(0, 9999, 30)
    return " ".join(f"word{number}" for number in numbers)


def _config(
    tmp_path: pathlib.Path, input_files: object, /, **changes: object
) -> CorpusConfig:
    settings = {
        "output_dir": str(tmp_path / "out"),
        "source": "files",
        "files": FilesConfig(input_files=str(input_files)),
        "cleaning": CleaningConfig(min_characters=20),
        "heldout_fraction": 0.25,
    }
    return CorpusConfig(**{**settings, **changes})  # type: ignore[arg-type]


def _records(path: pathlib.Path, **settings: str) -> list[bytes | str]:
    return list(RecordReader(FilesConfig(**settings)).read(str(path)))


def test_documents_of_text_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\n \r\nthree")
    assert _records(path) == [b"one\ntwo", b"three"]
    assert _records(path, document_per="line") == [b"one", b"two", b"three"]
    assert _records(path, document_per="file") == [b"one\ntwo\n\n \nthree"]
    packed = tmp_path / "b.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert _records(packed) == [b"one\ntwo", b"three"]


def test_documents_of_jsonl_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    lines = ['{"body": "a\\n\\nb"}', "", '{"body": "c"}']
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert _records(path, text_field="body") == ["a\n\nb", "c"]


@pytest.mark.parametrize(
    "bad", [b"{", b"[]", b'{"x": "y"}', b'{"text": 3}', b'{"text": "\xff"}']
)
def test_bad_jsonl_records(tmp_path: pathlib.Path, bad: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + bad + b'\n{"text": "too"}\n')
    with pytest.raises(ValueError, match=r"Received: .*a\.jsonl, line 2"):
        _records(path)
    reader = RecordReader(FilesConfig(on_bad_record="skip"))
    assert list(reader.read(str(path))) == ["good", "too"]
    assert reader.counts == {"dropped/bad_record/documents": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\0\0", "is binary"),
        ("text".encode("utf-16"), "is UTF-16"),
        (gzip.compress(b"some text" * 99, mtime=0)[:-12], "damaged"),
        (gzip.compress(b"\0\0", mtime=0), "is binary"),
    ],
)
def test_unusable_files(
    tmp_path: pathlib.Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{message}.*bad\\.txt"):
        _records(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("missing.txt", r"matches no file.*missing\.txt"),
        ("*.none", r"matches no file.*\*\.none"),
        ("", "names? files|at least one|the folder"),
    ],
)
def test_missing_files(
    tmp_path: pathlib.Path, files: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        builder.build(_config(tmp_path, tmp_path / files))
    assert not (tmp_path / "out").exists()


def test_build(tmp_path: pathlib.Path) -> None:
    texts = [_sentence(i) + ". Second one." for i in range(200)]
    texts += [texts[3], texts[4].replace("Second", "Other"), "tiny"]
    half = len(texts) // 2
    for name, part in (("a", texts[:half]), ("b", texts[half:])):
        menu = [t + "\nHome page 7 | About | Contact" for t in part]
        (tmp_path / f"{name}.txt").write_text("\n\n".join(menu))
    config = _config(tmp_path, tmp_path / "?.txt")
    report = builder.build(config)
    counts = report["counts"]
    assert counts["in"]["documents"] == 203
    assert counts["removed_lines"] == {"repeated": 203}
    dropped = {k: v["documents"] for k, v in counts["dropped"].items()}
    assert dropped == {
        "exact_duplicate": 1,
        "near_duplicate": 1,
        "too_short": 1,
    }
    documents = {}
    for split in ("train", "heldout"):
        path = tmp_path / "out" / f"{split}.txt"
        documents[split] = list(builder.read_documents(str(path)))
        assert counts[split]["documents"] == len(documents[split])
        assert counts[split]["sentences"] == 2 * len(documents[split])
    assert counts["train"]["documents"] + counts["heldout"]["documents"] == 200
    assert 25 < counts["heldout"]["documents"] < 75
    assert not set(documents["train"]) & set(documents["heldout"])
    # Documents stay in the order of the files, one sentence per line.
    order = [texts.index(d.replace("\n", " ")) for d in documents["train"]]
    assert order == sorted(order)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "heldout.txt",
        "report.json",
        "train.txt",
    ]

    before = (tmp_path / "out/train.txt").read_bytes()
    assert builder.build(config)["reused"]
    again = CorpusConfig(**{**vars(config), "overwrite": True})
    assert not builder.build(again)["reused"]
    assert (tmp_path / "out/train.txt").read_bytes() == before
    other = CorpusConfig(**{**vars(config), "heldout_fraction": 0.5})
    with pytest.raises(ValueError, match="other settings.*Received"):
        builder.build(other)
    assert builder.ensure_docstring_corpus(config.output_dir)["reused"]


def test_a_failed_build_leaves_nothing_complete(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": _sentence(1)}) + "\n{")
    with pytest.raises(ValueError, match="line 2"):
        builder.build(_config(tmp_path, path))
    assert list((tmp_path / "out").iterdir()) == []
    path.write_text(json.dumps({"text": "tiny"}))
    with pytest.raises(ValueError, match="No document is left"):
        builder.build(_config(tmp_path, path))
    assert builder.completed_report(str(tmp_path / "out")) is None


def test_no_heldout_document_is_a_warning(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text(_sentence(1))
    report = builder.build(
        _config(tmp_path, tmp_path / "a.txt", heldout_fraction=1e-9)
    )
    assert "heldout.txt" in report["warnings"][0]
    assert "warning" in builder.format_report(report)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "web"}, "Received: web"),
        ({"files": FilesConfig()}, "needs `input_files`"),
        ({"source": "docstrings"}, r"Received: x\.txt"),
        ({"heldout_fraction": 1.0}, r"Received: 1\.0"),
        ({"output_dir": ""}, "`output_dir`"),
    ],
)
def test_contradictory_settings(
    tmp_path: pathlib.Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _config(tmp_path, "x.txt", **changes)


def test_reading_does_not_hold_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "large.txt"
    path.write_text("\n\n".join(_sentence(i) for i in range(20_000)))
    reader = RecordReader(FilesConfig())
    tracemalloc.start()
    try:
        assert sum(1 for _ in reader.read(str(path))) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 5
    assert sources.total_bytes([str(path)]) == path.stat().st_size


@pytest.mark.skipif(
    not _GUTENBERG.is_dir(), reason=f"no shared data in {_GUTENBERG}"
)
def test_a_book_in_latin1(tmp_path: pathlib.Path) -> None:
    report = builder.build(
        _config(tmp_path, _GUTENBERG / "shakespeare-caesar.txt")
    )
    assert report["counts"]["changed"]["encoding_fallback"]["documents"] >= 1
    text = (tmp_path / "out/train.txt").read_text(encoding="utf-8")
    assert "\ufffd" not in text
