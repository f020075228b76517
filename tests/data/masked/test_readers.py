"""Tests of tfllm.data.masked.readers."""

import gzip
import pathlib

import pytest

from tfllm.data.masked import readers


def _write(path: pathlib.Path, text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def _read_all(blocks: list[readers.Block]) -> list[list[bytes]]:
    reader = readers.BlockReader()
    return [document for block in blocks for document in reader.read(block)]


def _documents(count: int) -> list[list[bytes]]:
    return [
        [f"document {i} line {j}".encode() for j in range(1 + i % 4)]
        for i in range(count)
    ]


def _text(documents: list[list[bytes]], gap: bytes = b"\n\n") -> bytes:
    return gap.join(b"\n".join(document) for document in documents)


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
@pytest.mark.parametrize("gap", [b"\n\n", b"\n \t\r\n", b"\r\n\r\n\r\n"])
@pytest.mark.parametrize("block_bytes", [1, 50, 300, 1 << 20])
def test_blocks_hold_every_document_once(
    tmp_path: pathlib.Path, name: str, gap: bytes, block_bytes: int
) -> None:
    documents = _documents(40)
    path = _write(tmp_path / name, _text(documents, gap))
    blocks = readers.find_blocks(path, block_bytes)
    if block_bytes >= 50:  # smaller ones cut documents, as they must
        assert _read_all(blocks) == documents
    lines = [line for document in _read_all(blocks) for line in document]
    assert lines == [line for document in documents for line in document]
    largest = max(len(b"\n".join(document)) for document in documents)
    for block in blocks[:-1]:
        limit = 2 * block_bytes + largest + len(gap)
        assert block_bytes <= block.num_bytes <= limit


def test_windows_smaller_than_documents(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_WINDOW", 3)
    documents = _documents(30)
    path = _write(tmp_path / "a.txt", _text(documents))
    assert _read_all(readers.find_blocks(path, 100)) == documents


def test_small_files_share_a_block(tmp_path: pathlib.Path) -> None:
    for i in range(10):
        _write(tmp_path / f"{i}.txt", f"file {i}")
    blocks = readers.find_blocks(str(tmp_path / "*.txt"), 1000)
    assert len(blocks) == 1
    assert _read_all(blocks) == [[f"file {i}".encode()] for i in range(10)]


def test_document_longer_than_a_block_is_cut_at_lines(
    tmp_path: pathlib.Path,
) -> None:
    lines = [f"line {i:04}".encode() for i in range(1000)]
    path = _write(tmp_path / "book.txt", b"\n".join(lines))
    blocks = readers.find_blocks(path, 1000)
    assert len(blocks) > 5
    assert [line for d in _read_all(blocks) for line in d] == lines


def test_line_longer_than_a_block_stays_whole(tmp_path: pathlib.Path) -> None:
    line = b"word " * 2000
    path = _write(tmp_path / "long.txt", line + b"\nend")
    blocks = readers.find_blocks(path, 100)
    assert _read_all(blocks) == [[line.strip()], [b"end"]] or _read_all(
        blocks
    ) == [[line.strip(), b"end"]]


def test_byte_order_mark_is_dropped(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path / "a.txt", b"\xef\xbb\xbfhello")
    assert _read_all(readers.find_blocks(path)) == [[b"hello"]]


@pytest.mark.parametrize("name", ["bad.txt", "bad.txt.gz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"text\0more", "NUL byte at byte 4"),
        (b"a\n" * 40000 + b"\0", "NUL byte at byte 80000"),
        (b"fine\nnot \xff fine", "invalid at byte 9"),
    ],
)
def test_bad_files_are_named(
    tmp_path: pathlib.Path, name: str, content: bytes, message: str
) -> None:
    path = _write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as caught:
        _read_all(readers.find_blocks(path, 1000))
    assert path in str(caught.value)


def test_truncated_gzip_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(_text(_documents(500)))[:-30])
    with pytest.raises(ValueError, match=r"cut\.gz"):
        readers.find_blocks(str(path), 1000)


def test_gzip_damaged_inside_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hurt.gz"
    packed = gzip.compress(_text(_documents(500)))
    # A block of deflate cannot have type 3, the first byte's bits 1 and 2.
    path.write_bytes(packed[:10] + b"\x07" + packed[11:])
    with pytest.raises(ValueError, match=r"hurt\.gz.*Replace the file"):
        readers.find_blocks(str(path), 1000)


def test_nothing_matches(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="train_files.*nothing"):
        readers.find_blocks(str(tmp_path / "nothing*"), flag="train_files")


def test_file_that_became_shorter(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path / "a.txt", _text(_documents(10)))
    blocks = readers.find_blocks(path)
    _write(tmp_path / "a.txt", "short")
    with pytest.raises(ValueError, match="became shorter"):
        _read_all(blocks)
