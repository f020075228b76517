"""Tests of tfllm.data.text_files."""

import gzip
import logging
import pathlib

import pytest
import tensorflow as tf

from tfllm.data import text_files

TEXT = "naïve café\nzwei\r\ndrei\u2028vier\n"


def read(path: pathlib.Path | str, encoding: str = "") -> list[str]:
    with text_files.open_decoded(str(path), encoding) as file:
        return list(file)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_encodings_are_found(
    written: str, found: str, compressed: bool, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "text"
    content = TEXT.encode(written)
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert text_files.detect_encoding(str(path)) == found
    # Only \n ends a line.
    assert read(path) == ["naïve café\n", "zwei\r\n", "drei\u2028vier\n"]


def test_latin_1_is_found_and_said(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "text"
    path.write_bytes("sister\xf0city\n".encode("latin-1"))
    with caplog.at_level(logging.WARNING, logger="tfllm"):
        assert read(path) == ["sister\xf0city\n"]
    assert "Latin-1" in caplog.text


def test_a_late_byte_decides(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"a" * 200_000 + b"\xe9\n")
    assert text_files.detect_encoding(str(path)) == "latin-1"
    path.write_bytes(b"a" * 65_535 + "é".encode())  # across two reads
    assert text_files.detect_encoding(str(path)) == "utf-8"
    path.write_bytes(b"abc\xc3")  # UTF-8 that is cut off
    assert text_files.detect_encoding(str(path)) == "latin-1"


def test_other_encodings_must_be_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("ab 外卖\n".encode("gb18030") + b"\x85\n")
    with pytest.raises(ValueError, match="byte 8"):
        read(path)
    path.write_bytes("ab 外卖\n".encode("gb18030"))
    assert read(path, "gb18030") == ["ab 外卖\n"]
    with pytest.raises(ValueError, match="no-such"):
        read(path, "no-such")
    with pytest.raises(ValueError, match="'utf-8-sig'"):
        read(path, "utf-8")


def test_a_mark_is_dropped_when_utf_8_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("a\n".encode("utf-8-sig"))
    assert read(path, "UTF-8") == ["a\n"]


def test_binary_and_damaged_files_are_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"PK\x03\x04\0\0\0\0\0\0")
    with pytest.raises(ValueError, match="byte 4"):
        read(path)
    path.write_bytes(gzip.compress(TEXT.encode() * 999)[:-20])
    with pytest.raises(ValueError, match="damaged or cut off"):
        read(path, "utf-8")


def test_remote_files() -> None:
    with tf.io.gfile.GFile("ram://text_files/text.gz", "wb") as file:
        file.write(gzip.compress(TEXT.encode()))
    with tf.io.gfile.GFile("ram://text_files/text", "wb") as file:
        file.write(TEXT.encode("utf-16"))
    assert "".join(read("ram://text_files/text.gz")) == TEXT
    assert "".join(read("ram://text_files/text")) == TEXT
