"""Opens text files, and detects their compression and encoding.

Gzip is recognized by content. The encoding is that of a byte order mark, else
UTF-8 if the whole file is valid, else Latin-1 if the file can be that; others
must be named. Imports no TensorFlow, see `file_access`.
"""

import codecs
import contextlib
import gzip
import io
import logging
import sys
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

from tfllm import file_access

logger = logging.getLogger(__name__)

# Errors for damaged gzip files.
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
_PROBE = 1 << 16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # Before UTF-16, whose little-endian mark is the start of UTF-32's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Control characters in Latin-1, which texts do not have.
_NOT_LATIN = bytes(range(0x80, 0xA0))


class _Remote(io.RawIOBase):
    """Wraps a file of `tf.io.gfile` as a raw file of the `io` module."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """Opens a plain or gzip file for reading its content from the start.

    Raises:
        ValueError: A gzip file is damaged or cut off, also while it is read.
    """
    if path == file_access.STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(file_access.open_binary(path))
        start = file.read(2)
        file.seek(0)
        if start == b"\x1f\x8b":
            file = stack.enter_context(
                cast(IO[bytes], gzip.GzipFile(fileobj=file))
            )
        elif file_access.is_remote(path):
            file = io.BufferedReader(_Remote(file))
        try:
            yield file
        except DAMAGED as error:
            raise ValueError(
                f"The gzip file is damaged or cut off. Received: {path} "
                f"({error}). Copy or download it again; `gzip -t` checks it."
            ) from error


@contextlib.contextmanager
def open_decoded(path: str, encoding: str = "") -> Iterator[IO[str]]:
    r"""Opens a text file, plain or gzip, local or remote.

    Only "\n" ends a line, as texts may have other line separators.

    Args:
        path: The file, or `file_access.STANDARD_INPUT`.
        encoding: Its encoding. Empty: detected, but UTF-8 for standard input,
            which cannot be read twice.

    Raises:
        ValueError: The file is binary, or is not in that encoding, also
            while it is read.
    """
    if not encoding:
        piped = path == file_access.STANDARD_INPUT
        encoding = "utf-8" if piped else detect_encoding(path)
    try:
        if codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"  # which also takes files without a mark
    except LookupError:
        raise ValueError(
            f"`encoding` must be one that Python knows. Received: "
            f"{encoding!r}. Try utf-8, utf-16, latin-1, cp1252 or gb18030."
        ) from None
    try:
        with open_bytes(path) as file:
            yield io.TextIOWrapper(
                cast(Any, file), encoding=encoding, newline="\n"
            )
    except UnicodeError as error:
        raise ValueError(
            f"`encoding` must be that of the file. Received: {encoding!r} "
            f"for {path} ({error}). Leave it out, or name the right one."
        ) from error


def detect_encoding(path: str) -> str:
    """Detects the encoding of a file.

    Raises:
        ValueError: The file is binary, or in an encoding that must be named.
    """
    with open_bytes(path) as file:
        start = file.read(_PROBE)
        for mark, name in _MARKS:
            if start.startswith(mark):
                return name
        if b"\0" in start:
            return _wide_encoding(path, start)
        decoder = codecs.getincrementaldecoder("utf-8")()
        place, foreign, chunk = 0, -1, start
        is_utf8 = True
        while chunk:
            if is_utf8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    is_utf8 = False
            if foreign < 0 and len(chunk.translate(None, _NOT_LATIN)) < len(
                chunk
            ):
                foreign = place + next(
                    i for i, byte in enumerate(chunk) if byte in _NOT_LATIN
                )
            place += len(chunk)
            chunk = file.read(_PROBE)
    if is_utf8 and not decoder.getstate()[0]:
        return "utf-8"
    if foreign >= 0:
        raise ValueError(
            "The encoding of a file must be named where it is neither UTF-8, "
            f"UTF-16 nor Latin-1. Received: {path}, byte {foreign}. Give "
            "--encoding=cp1252 (Windows), gb18030 (Chinese), shift_jis, ..."
        )
    logger.warning(
        "%s is not UTF-8 and was read as Latin-1; --encoding names another.",
        path,
    )
    return "latin-1"


def _wide_encoding(path: str, start: bytes) -> str:
    """Detects UTF-16 in a file without a byte order mark."""
    half = len(start) // 2
    for name, zeros in (
        ("utf-16-le", start[1::2].count(0)),
        ("utf-16-be", start[0::2].count(0)),
    ):
        # Nearly all characters of most texts lie below U+0100.
        if zeros == start.count(0) and zeros > half // 2:
            return name
    raise ValueError(
        "An input file must be text. Received a binary file: "
        f"{path} (NUL byte at byte {start.find(0)}). Leave it out, or name "
        "its --encoding."
    )
