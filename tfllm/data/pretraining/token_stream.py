"""Text as one long row of token ids, kept in files.

All documents follow each other, an end-of-text token between two. The text is
tokenized once, into parts of a few megabytes; a killed run continues with the
parts that are not there yet.
"""

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm import file_access
from tfllm.data.corpus.sources import FilesConfig, RecordReader
from tfllm.data.pretraining import shards
from tfllm.data.pretraining.sources import file_state

PART_BYTES = 1 << 22
_PIECE_BYTES = 1 << 14
_BATCH = 64  # pieces per call of the tokenizer
_FORMAT_VERSION = 1
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class StreamTokenizer(Protocol):
    """What a tokenizer must offer."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""

    @property
    def eos_id(self) -> int | None:
        """Id of the end-of-text token, if there is one."""

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """String [N] -> int32 ragged [N, (tokens)]."""

    def vocab_hash(self) -> str:
        """Changes with anything that changes ids."""


class _Piece(NamedTuple):
    """A part of a document, small enough for one call of an op."""

    text: bytes
    opens: bool


@dataclass(frozen=True)
class TextCounts:
    """How much text there is.

    Attributes:
        tokens: Ids in the stream, those between documents included.
        words: Runs of characters that are not white space.
        text_bytes: UTF-8 bytes of all documents.
    """

    tokens: int = 0
    words: int = 0
    text_bytes: int = 0


class TokenStream:
    """The ids of all documents; made by `open_stream`.

    Args:
        parts: Ids, in order.
        counts: Of all parts.
        files: The files they come from, for messages.
    """

    def __init__(
        self, parts: list[np.ndarray], counts: TextCounts, files: str
    ) -> None:
        """See the class."""
        self.counts = counts
        self.files = files
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        """Returns the number of ids."""
        return self.counts.tokens

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns ids from `start` to `stop`, exclusive, as int32."""
        found = []
        part = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop and part < len(self._parts):
            begin = int(self._ends[part]) - len(self._parts[part])
            found.append(self._parts[part][start - begin : stop - begin])
            start = int(self._ends[part])
            part += 1
        if not found:
            return np.zeros(0, np.int32)
        return np.concatenate(found).astype(np.int32)


def open_stream(
    files: str,
    tokenizer: StreamTokenizer,
    document_per: str = "blank_line",
    index_dir: str | None = None,
    flag: str = "train_files",
) -> TokenStream:
    """Tokenizes text files, or finds what was tokenized before.

    Args:
        files: Text or JSONL, plain or gzip: paths and globs, comma-separated.
        tokenizer: The tokenizer of the run.
        document_per: What a document of a text file is: "blank_line" (text
            between blank lines), "line" or "file" (kept as it is, without
            the last line end).
        index_dir: Folder for the ids; None keeps them in memory.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: A file is missing, empty or binary, or there is too
            little text.
    """
    paths = file_access.match_files(files, flag)
    folder = None
    if index_dir is not None:
        settings = {
            "files": [file_state(path) for path in paths],
            "vocab_hash": tokenizer.vocab_hash(),
            "document_per": document_per,
            "part_bytes": PART_BYTES,
            "format_version": _FORMAT_VERSION,
        }
        key = shards.settings_key(settings)
        folder = os.path.join(index_dir, f"tokens-{key}")
    parts, counts = _read_or_tokenize(paths, tokenizer, document_per, folder)
    if counts.tokens < 2:
        raise ValueError(
            f"`{flag}` must hold at least two tokens of text. Received: "
            f"{counts.tokens} in {files}."
        )
    return TokenStream(parts, counts, files)


def _read_or_tokenize(
    paths: list[str],
    tokenizer: StreamTokenizer,
    document_per: str,
    folder: str | None,
) -> tuple[list[np.ndarray], TextCounts]:
    """Returns the parts and their counts."""
    index = folder and file_access.join(folder, "index.json")
    if folder and index and file_access.exists(index):
        content = shards.read_json(index)
        names = [_part_path(folder, i) for i in range(content["parts"])]
        counts = TextCounts(**content["counts"])
        parts = [_load(name) for name in names]
        if sum(map(len, parts)) == counts.tokens:
            return parts, counts
    if folder:
        file_access.make_folder(folder)
    reader = RecordReader(FilesConfig(document_per=document_per))
    pieces = _pieces(paths, reader)
    parts = []
    words = text_bytes = 0
    with tqdm(
        total=sum(tf.io.gfile.stat(path).length for path in paths),
        unit="B",
        unit_scale=True,
        desc="tokenizing",
    ) as progress:
        for number, part in enumerate(_by_size(pieces, PART_BYTES)):
            path = folder and _part_path(folder, number)
            if path and file_access.exists(path):
                ids = _load(path)
            else:
                ids = _tokenize(part, tokenizer, number == 0)
                if path:
                    _save(path, ids)
            parts.append(ids)
            # A piece ends before white space, so no word is cut.
            words += sum(len(piece.text.split()) for piece in part)
            size = sum(len(piece.text) for piece in part)
            text_bytes += size
            progress.update(size)
    counts = TextCounts(sum(map(len, parts)), words, text_bytes)
    if index:
        shards.write_json(
            index, {"parts": len(parts), "counts": asdict(counts)}
        )
    return parts, counts


def _part_path(folder: str, number: int) -> str:
    return file_access.join(folder, f"part-{number:05d}.npy")


def _load(path: str) -> np.ndarray:
    """Maps a local file into memory; reads a remote one."""
    if not file_access.is_remote(path):
        return np.load(path, mmap_mode="r")
    with file_access.open_binary(path) as file:
        return np.load(io.BytesIO(file.read()))


def _save(path: str, ids: np.ndarray) -> None:
    """Writes a part, complete or not at all."""
    content = io.BytesIO()
    np.save(content, ids)
    with file_access.write_binary_atomically(path) as file:
        file.write(content.getvalue())


def _pieces(paths: list[str], reader: RecordReader) -> Iterator[_Piece]:
    """Yields all documents in pieces."""
    for path in paths:
        for document in reader.read(path):
            text = document if isinstance(document, bytes) else _utf8(document)
            text = text.removeprefix(_BYTE_ORDER_MARK)
            for i, piece in enumerate(cut(text, _PIECE_BYTES)):
                yield _Piece(piece, opens=i == 0)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def cut(text: bytes, size: int) -> Iterator[bytes]:
    """Cuts a text into pieces that are tokenized as the whole would be.

    Byte-level BPE first splits a text into words, each with the white space
    before it: so a cut before a line end that follows no white space changes
    nothing. WordPiece drops white space.

    Args:
        text: UTF-8.
        size: Bytes of a piece at least; the last may be shorter.

    Yields:
        The pieces, in order.
    """
    start = 0
    while start < len(text):
        stop = text.find(b"\n", start + size)
        while stop > 0 and text[stop - 1 : stop].isspace():
            stop = text.find(b"\n", stop + 1)
        if stop < 0:
            stop = len(text)
        yield text[start:stop]
        start = stop


def _by_size(pieces: Iterable[_Piece], size: int) -> Iterator[list[_Piece]]:
    """Yields lists of pieces of at least `size` bytes; the last may be less."""
    part: list[_Piece] = []
    filled = 0
    for piece in pieces:
        part.append(piece)
        filled += len(piece.text)
        if filled >= size:
            yield part
            part, filled = [], 0
    if part:
        yield part


def _tokenize(
    part: list[_Piece], tokenizer: StreamTokenizer, first: bool
) -> np.ndarray:
    """Returns the ids of a part, uint16 where they fit."""
    eos = tokenizer.eos_id
    between = [] if eos is None else [eos]
    found: list[Any] = []
    for start in range(0, len(part), _BATCH):
        batch = part[start : start + _BATCH]
        rows = tokenizer.tokenize(tf.constant([p.text for p in batch]))
        values, ends = rows.flat_values.numpy(), rows.row_splits.numpy()
        for piece, (low, high) in zip(
            batch, itertools.pairwise(ends), strict=True
        ):
            if piece.opens and not (first and not found):
                found.append(np.array(between, np.int32))
            found.append(values[low:high])
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32
    return np.concatenate(found).astype(dtype)
