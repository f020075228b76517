r"""Reads text files as blocks of documents.

Text files are UTF-8, with one sentence per line and blank lines between
documents; a new file is a new document. A block is about `block_bytes` of text:
the unit of work of preparation and training, which bounds their memory. It has
one or more byte ranges, so that a folder of small files makes few blocks.

Cost of finding blocks: plain files are only read around each cut, so a terabyte
costs as many seeks as it has blocks. `.gz` files have no index and are
decompressed once to find their blocks (about 200 MB/s). To read a block of
them, all text before it is decompressed: `BlockReader` keeps the stream open,
so that blocks in order cost one pass, but each step back costs another. Rather
than train on large `.gz` files as text, prepare shards of them or unpack them.
"""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

import tensorflow as tf

from tfllm import file_access
from tfllm.data import text_files
from tfllm.data.masked.config import DEFAULT_BLOCK_BYTES

_WINDOW = 1 << 16
_BLANK_LINE = re.compile(rb"\n[ \t\r\f\v]*\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Document = list[bytes]


@dataclass(frozen=True)
class Piece:
    """Part of a file, as a range of bytes after decompression."""

    path: str
    start: int
    end: int


@dataclass(frozen=True)
class Block:
    """About `block_bytes` of text: whole documents where they fit."""

    pieces: tuple[Piece, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of text in all pieces."""
        return sum(piece.end - piece.start for piece in self.pieces)


def _is_gzip(path: str) -> bool:
    """Returns whether a file is gzip, by its name."""
    return path.endswith(".gz")


def _open(path: str) -> IO[bytes]:
    """Opens a plain or gzip file as bytes."""
    if not _is_gzip(path):
        return file_access.open_binary(path)
    if file_access.is_remote(path):
        file = file_access.open_binary(path)
        return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb"))
    return cast(IO[bytes], gzip.open(path, "rb"))  # closes the file itself


def _refuse_binary(path: str, data: bytes, start: int) -> None:
    """Raises ValueError for a NUL byte in data from byte `start` on."""
    place = data.find(b"\0")
    if place >= 0:
        raise ValueError(
            "`input_files` must be UTF-8 text. Received a binary file: "
            f"{path} (NUL byte at byte {start + place}). Convert it to "
            "UTF-8 text, or leave it out of the glob."
        )


def find_blocks(
    files: str | list[str],
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    flag: str = "input_files",
) -> list[Block]:
    """Cuts text files into blocks at document borders.

    A document longer than a block is cut at a line border, and a line longer
    than a block stays whole.

    Args:
        files: Globs, comma-separated or a list.
        block_bytes: Bytes of text per block. Blocks end at the first document
            border after that, or at a line border if there is none within
            another `block_bytes`.
        flag: Name of the flag for messages.

    Returns:
        The blocks in the order of the files.

    Raises:
        ValueError: No file matches, or a file is empty, binary or damaged.
    """
    if block_bytes < 1:
        raise ValueError(
            f"`block_bytes` must be at least 1. Received: {block_bytes}."
        )
    blocks: list[Block] = []
    pieces: list[Piece] = []
    filled = 0
    for path in file_access.match_files(files, flag):
        for piece in _find_pieces(path, block_bytes, filled):
            pieces.append(piece)
            filled += piece.end - piece.start
            if filled >= block_bytes:
                blocks.append(Block(tuple(pieces)))
                pieces, filled = [], 0
    if pieces and blocks and filled < block_bytes // 2:
        # A small last block would have few documents to draw from.
        blocks[-1] = Block(blocks[-1].pieces + tuple(pieces))
    elif pieces:
        blocks.append(Block(tuple(pieces)))
    return blocks


def _find_pieces(path: str, block_bytes: int, filled: int) -> Iterator[Piece]:
    """Yields the byte ranges of a file; the first fills up a block."""
    if tf.io.gfile.isdir(path):
        raise ValueError(
            f"`input_files` must name files. Received the folder: {path}."
        )
    try:
        size = None if _is_gzip(path) else tf.io.gfile.stat(path).length
        with _open(path) as file:
            _refuse_binary(path, file.read(_WINDOW), 0)
            start = 0
            room = block_bytes - filled
            while True:
                end = _find_cut(file, size, start + room, block_bytes)
                if end == 0:
                    raise ValueError(
                        f"`input_files` holds an empty file. Received: {path}."
                    )
                if end > start:
                    yield Piece(path, start, end)
                if end < start + room:  # the file ended before the cut
                    return
                start, room = end, block_bytes
    except text_files.DAMAGED as error:
        raise ValueError(_damaged(path, error)) from error


def _damaged(path: str, error: Exception) -> str:
    """Returns the error message for a damaged `.gz` file."""
    return (
        "`input_files` holds a `.gz` file that cannot be read to its end. "
        f"Received: {path} ({error}). Replace the file."
    )


def _find_cut(
    file: IO[bytes], size: int | None, target: int, limit: int
) -> int:
    """Returns the first document border at or after `target`.

    Args:
        file: The open file.
        size: Length of the file; None for a stream of unknown length.
        target: Byte to search from.
        limit: Bytes to search for a blank line before taking a line border.

    Returns:
        The byte after the border, or the length of the file (which may be
        smaller than `target`).
    """
    start = max(target - 1, 0)
    if size is not None and start >= size:
        return size
    file.seek(start)
    if file.tell() < start:  # the end of a stream
        return file.tell()
    window = b""
    line_end = -1  # the first line border, relative to `start`
    scanned = 0
    while True:
        chunk = file.read(_WINDOW)
        window += chunk
        blank = _BLANK_LINE.search(window, scanned)
        if blank:
            return start + blank.end()
        if line_end < 0:
            line_end = window.find(b"\n", scanned) + 1 or -1
        if not chunk:
            return start + len(window)
        if len(window) >= limit and line_end > 0:
            return start + line_end
        # A blank line may span two windows: search on from the last line end.
        last = window.rfind(b"\n", scanned)
        if last >= 0:
            scanned = last
        elif line_end < 0:
            scanned = len(window)


class BlockReader:
    """Reads blocks, keeping the last `.gz` stream open between calls.

    Not thread-safe: each thread needs its own.
    """

    def __init__(self) -> None:
        self._path = ""
        self._stream: IO[bytes] | None = None

    def read(self, block: Block) -> list[Document]:
        """Reads the documents of a block.

        Args:
            block: One of `find_blocks`.

        Returns:
            Documents: lists of stripped, non-empty lines, as UTF-8 bytes.

        Raises:
            ValueError: The text is binary or not UTF-8, or the file has
                changed since its blocks were found.
        """
        documents: list[Document] = []
        for piece in block.pieces:
            documents.extend(_split_documents(self._read_piece(piece)))
        return documents

    def _read_piece(self, piece: Piece) -> bytes:
        """Reads and checks a byte range."""
        size = piece.end - piece.start
        if not _is_gzip(piece.path):
            with _open(piece.path) as file:
                file.seek(piece.start)
                data = file.read(size)
        else:
            data = self._read_stream(piece)
        if len(data) != size:
            raise ValueError(
                "`input_files` must not change while they are read. "
                f"Received: {piece.path}, which became shorter."
            )
        _refuse_binary(piece.path, data, piece.start)
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                "`input_files` must be UTF-8 text. Received: "
                f"{piece.path}, invalid at byte {piece.start + error.start} "
                f"({error.reason}). Clean it with tools.build_corpus, which "
                "repairs encodings."
            ) from None
        if piece.start == 0:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        return data

    def _read_stream(self, piece: Piece) -> bytes:
        """Reads a byte range of a `.gz` file, with the stream kept open."""
        if self._stream is None or self._path != piece.path:
            if self._stream is not None:
                self._stream.close()
            self._stream, self._path = _open(piece.path), piece.path
        try:
            self._stream.seek(piece.start)
            return self._stream.read(piece.end - piece.start)
        except text_files.DAMAGED as error:
            raise ValueError(_damaged(piece.path, error)) from error


def _split_documents(data: bytes) -> Iterator[Document]:
    """Splits text at blank lines."""
    document: Document = []
    for line in data.split(b"\n"):
        stripped = line.strip()
        if stripped:
            document.append(stripped)
        elif document:
            yield document
            document = []
    if document:
        yield document
