"""Tests of tfllm.data.token_stream.stream."""

import gzip
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.token_stream import tokenize_files
from tfllm.data.token_stream.stream import open_stream
from tfllm.data.token_stream.tokenize_files import cut
from tfllm.tokenizers import ByteBPETokenizer, RowTemplate, SpecialIds

EOS = 256
TEXT = "One.\nTwo words.\n\nSecond döcument\n\n\n\nThird.\n"
DOCUMENTS = ["One.\nTwo words.", "Second döcument", "Third."]


class Bytes:
    """A byte is a token; counts what it was given."""

    kind = "bytes"
    vocab_size = 257
    special = SpecialIds(eos=EOS)
    row_template = RowTemplate(pad=0)
    add_prefix_space = False
    calls = 0

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        self.calls += 1
        rows = [list(row) for row in text.numpy()]
        return tf.ragged.constant(rows, tf.int32)

    def vocab_hash(self) -> str:
        return "bytes"


def joined(documents: list[str]) -> list[int]:
    """Byte ids with one end of text between two documents."""
    found: list[int] = []
    for document in documents:
        found += ([EOS] if found else []) + list(document.encode())
    return found


@pytest.fixture
def file(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def test_documents_are_joined_by_end_of_text(file: str) -> None:
    stream = open_stream(file, Bytes())
    assert stream.read(0, len(stream)).tolist() == joined(DOCUMENTS)
    assert stream.counts.words == sum(len(d.split()) for d in DOCUMENTS)
    assert stream.counts.text_bytes == sum(len(d.encode()) for d in DOCUMENTS)


def test_a_file_as_one_document_is_kept_as_it_is(file: str) -> None:
    stream = open_stream(file, Bytes(), document_per="file")
    whole = stream.read(0, len(stream)).astype(np.uint8).tobytes()
    assert whole.decode() == TEXT.removesuffix("\n")


def test_without_end_of_text_documents_just_follow(file: str) -> None:
    tokenizer = Bytes()
    tokenizer.special = SpecialIds()
    stream = open_stream(file, tokenizer)
    ids = stream.read(0, len(stream)).astype(np.uint8).tobytes()
    assert ids.decode() == "".join(DOCUMENTS)


def test_jsonl_gzip_and_several_files(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "in\n\njson"}) + "\n")
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("zipped\n")
    stream = open_stream(f"{tmp_path}/*", Bytes())
    ids = stream.read(0, len(stream)).tolist()
    assert ids == joined(["in\n\njson", "zipped"])


def test_any_slice_across_parts(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize_files, "SHARD_BYTES", 7)
    monkeypatch.setattr(tokenize_files, "_PIECE_BYTES", 3)
    stream = open_stream(file, Bytes())
    whole = joined(DOCUMENTS)
    for start in range(len(whole) + 1):
        for stop in range(start, len(whole) + 4):
            assert stream.read(start, stop).tolist() == whole[start:stop]
    assert stream.counts.words == sum(len(d.split()) for d in DOCUMENTS)


def test_ids_are_kept_and_a_killed_run_continues(
    file: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize_files, "SHARD_BYTES", 7)
    monkeypatch.setattr(tokenize_files, "_PIECE_BYTES", 3)
    index = str(tmp_path / "index")
    first = Bytes()
    expected = open_stream(file, first, index_dir=index)
    (folder,) = pathlib.Path(index).iterdir()
    parts = sorted(folder.glob("shard-*.npy"))
    assert len(parts) > 2
    # As if killed before the last part and the index were written.
    (folder / "manifest.json").unlink()
    parts[-1].unlink()
    again = Bytes()
    found = open_stream(file, again, index_dir=index)
    assert 0 < again.calls < first.calls
    assert found.counts == expected.counts
    np.testing.assert_array_equal(
        found.read(0, len(found)), expected.read(0, len(expected))
    )
    third = Bytes()
    open_stream(file, third, index_dir=index)
    assert third.calls == 0


def test_a_changed_file_is_tokenized_again(
    file: str, tmp_path: pathlib.Path
) -> None:
    index = str(tmp_path / "index")
    open_stream(file, Bytes(), index_dir=index)
    pathlib.Path(file).write_text("Other text.\n")
    stream = open_stream(file, Bytes(), index_dir=index)
    assert stream.read(0, 99).tolist() == joined(["Other text."])


@pytest.mark.parametrize("before", ["\n", " "])
def test_a_cut_never_separates_white_space(before: str) -> None:
    rng = np.random.default_rng(0)
    cuts = 0
    for _ in range(300):
        text = "".join(rng.choice(list("abé \n\t\u00a0\u3000\u2028"), 40))
        size = int(rng.integers(1, 9))
        pieces = list(cut(text.encode(), size, before.encode()))
        assert b"".join(pieces) == text.encode()
        texts = [piece.decode() for piece in pieces]
        for one, other in zip(texts, texts[1:], strict=False):
            assert not one[-1].isspace()
            assert other[0] == before
            cuts += 1
    assert cuts > 300


def test_white_space_of_all_scripts_separates_words(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a\u3000b\u00a0c\u2028d e\n\nf\u200bg\n")
    # A zero width space is none.
    assert open_stream(str(path), Bytes()).counts.words == 6


@pytest.mark.parametrize("space", [False, True])
def test_pieces_have_the_ids_of_the_whole(
    space: bool,
    byte_bpe: ByteBPETokenizer,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    monkeypatch.setattr(tokenize_files, "_PIECE_BYTES", 8)
    byte_bpe.save(str(tmp_path))
    ours = ByteBPETokenizer.from_file(str(tmp_path), add_prefix_space=space)
    ours.save(str(tmp_path / "ours"))
    theirs = tokenizers.Tokenizer.from_file(
        str(tmp_path / "ours" / "tokenizer.json")
    )
    rng = np.random.default_rng(1)
    letters = [*"bade' s\n\n", " de", "\u3000", "\u00a0"]
    text = "x" + "".join(rng.choice(letters, 600)) + "x"
    (tmp_path / "text.txt").write_text(text)
    stream = open_stream(str(tmp_path / "text.txt"), ours, document_per="file")
    assert stream.read(0, len(stream)).tolist() == theirs.encode(text).ids


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "text.txt"), (b"\0\1\2", "text.txt"), (b"\n \n", "text.txt")],
)
def test_files_without_text_are_refused(
    tmp_path: pathlib.Path, content: bytes, message: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_stream(str(path), Bytes())


def test_ids_of_a_large_vocabulary(file: str, tmp_path: pathlib.Path) -> None:
    class Large(Bytes):
        vocab_size = 100_000

        def tokenize(self, text: Any) -> tf.RaggedTensor:
            return super().tokenize(text) + 70_000

    stream = open_stream(file, Large(), index_dir=str(tmp_path / "index"))
    assert stream.read(0, 1).tolist() == [70_000 + ord("O")]
