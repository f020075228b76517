"""Text files to shards of token ids, in parallel and resumable.

All documents follow each other, an end-of-text token between two. A shard is a
NumPy file with the ids of a few megabytes of text, uint16 where they fit, else
int32; it is a function of the text alone, so the files are the same for any
number of workers, and a run that was killed goes on with the shards that are
not there yet. Memory is that of two shards per worker.
"""

import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm import file_access
from tfllm.data.corpus.sources import FilesConfig, RecordReader
from tfllm.data.pretraining import prepared_folder, worker_pool
from tfllm.tokenizers.load import load_tokenizer
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

TASK = "causal_lm"
SHARD_BYTES = 1 << 22
_PIECE_BYTES = 1 << 14
_BATCH = 64  # pieces per call of the tokenizer
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
        words: Runs of characters that are not white space, as `str.split`
            finds them: that of Unicode counts.
        text_bytes: UTF-8 bytes of all documents.
    """

    tokens: int = 0
    words: int = 0
    text_bytes: int = 0

    def __add__(self, other: "TextCounts") -> "TextCounts":
        """Returns that of both texts together."""
        return TextCounts(
            self.tokens + other.tokens,
            self.words + other.words,
            self.text_bytes + other.text_bytes,
        )


@dataclass(frozen=True)
class TokenizeConfig:
    """A preparation run for causal language models.

    Args:
        input_files: text or JSONL, plain or gzip: globs, comma-separated.
        tokenizer: vocabulary file or tokenizer folder.
        output_dir: folder for the shards.
        document_per: what a document is; see `FilesConfig`.
        workers: processes.
        overwrite: delete shards made with other settings.
    """

    input_files: str
    tokenizer: str
    output_dir: str
    document_per: str = "blank_line"
    workers: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.workers < 1:
            raise ValueError(
                f"`workers` must be at least 1. Received: {self.workers}."
            )
        FilesConfig(document_per=self.document_per)


def prepare_stream(config: TokenizeConfig) -> TextCounts:
    """Tokenizes text files into a folder; continues a run that was stopped.

    Args:
        config: what to tokenize.

    Returns:
        How much text the folder holds.

    Raises:
        ValueError: bad input, or the folder holds shards made with other
            settings.
        OSError: a file cannot be written, or a worker died.
    """
    paths = file_access.match_files(config.input_files, "input_files")
    tokenizer: Any = load_tokenizer(config.tokenizer)
    if tokenizer.kind == WordPieceTokenizer.kind:
        raise ValueError(
            "`tokenizer` must be of a kind that causal language models read. "
            f"Received: {tokenizer.kind!r} in {config.tokenizer}. Train one "
            "with tools.build_vocab --kind=byte_bpe."
        )
    return tokenize_files(
        paths,
        tokenizer,
        config.document_per,
        config.output_dir,
        prepared_folder.describe_sources(paths),
        workers=config.workers,
        tokenizer_path=config.tokenizer,
        overwrite=config.overwrite,
    )


def tokenize_files(
    paths: list[str],
    tokenizer: StreamTokenizer,
    document_per: str,
    folder: str,
    sources: list[Any],
    workers: int = 1,
    tokenizer_path: str = "",
    overwrite: bool = False,
) -> TextCounts:
    """Writes the shards of text files that are not there yet.

    Args:
        paths: the files.
        tokenizer: what makes the ids.
        document_per: what a document is.
        folder: where the shards go.
        sources: what tells whether the files are those of shards that are
            there.
        workers: processes; more than 1 need `tokenizer_path`.
        tokenizer_path: where the tokenizer was read from.
        overwrite: delete shards made with other settings.

    Returns:
        How much text there is.

    Raises:
        ValueError: as `prepare_stream`.
        OSError: as `prepare_stream`.
    """
    settings = settings_of(tokenizer, document_per, sources)
    resumed = prepared_folder.begin(folder, settings, overwrite)
    counts: dict[int, TextCounts] = {}

    with tqdm(
        total=sum(tf.io.gfile.stat(path).length for path in paths),
        unit="B",
        unit_scale=True,
        desc="tokenizing",
    ) as progress:

        def missing() -> Iterator[tuple[int, list[_Piece], str]]:
            shards = text_shards(paths, document_per, tokenizer)
            for number, (shard, size) in enumerate(shards):
                path = shard_path(folder, number)
                ids = load_shard(path) if resumed else None
                counts[number] = size
                if ids is None:
                    yield number, shard, path
                else:
                    add(number, len(ids))

        def add(number: int, tokens: int) -> None:
            counts[number] += TextCounts(tokens=tokens)
            progress.update(counts[number].text_bytes)

        # In this process, the tokenizer that is there is enough.
        origin = tokenizer if workers == 1 else tokenizer_path
        for number, tokens in worker_pool.run(
            _work, missing(), workers, _start_worker, (origin,)
        ):
            add(number, tokens)
    total = sum((counts[i] for i in sorted(counts)), TextCounts())
    if total.text_bytes == 0:
        raise ValueError(
            "There must be text to tokenize. Received: only blank text in "
            f"{', '.join(paths)}."
        )
    listed = [
        {"file": shard_name(i), "tokens": counts[i].tokens}
        for i in sorted(counts)
    ]
    prepared_folder.finish(folder, settings, listed, **asdict(total))
    return total


def settings_of(
    tokenizer: StreamTokenizer, document_per: str, sources: list[Any]
) -> dict[str, Any]:
    """Returns what shards are made of and with; see `tokenize_files`."""
    return {
        "format_version": prepared_folder.FORMAT_VERSION,
        "task": TASK,
        "document_per": document_per,
        "shard_bytes": SHARD_BYTES,
        "sources": sources,
        "vocab_size": tokenizer.vocab_size,
        "vocab_hash": tokenizer.vocab_hash(),
    }


# The tokenizer of a worker process.
_tokenizer: StreamTokenizer | None = None


def _start_worker(origin: StreamTokenizer | str) -> None:
    """Keeps a tokenizer, or reads it from its files."""
    global _tokenizer
    _tokenizer = load_tokenizer(origin) if isinstance(origin, str) else origin


def _work(number: int, shard: list[_Piece], path: str) -> tuple[int, int]:
    """Writes a shard; returns its number and how many tokens it has."""
    assert _tokenizer is not None
    ids = tokenize_pieces(shard, _tokenizer, number == 0)
    _save(path, ids)
    return number, len(ids)


def shard_name(number: int) -> str:
    """File name of a shard."""
    return prepared_folder.shard_name(number, ".npy")


def shard_path(folder: str, number: int) -> str:
    """Path of a shard."""
    return file_access.join(folder, shard_name(number))


def load_shard(path: str) -> np.ndarray | None:
    """Maps a local shard into memory, or reads a remote one.

    Args:
        path: the shard.

    Returns:
        uint16 or int32 [tokens]; None if it is missing or damaged.
    """
    try:
        if not file_access.is_remote(path):
            return np.load(path, mmap_mode="r")
        with file_access.open_binary(path) as file:
            return np.load(io.BytesIO(file.read()))
    except (
        FileNotFoundError,
        tf.errors.NotFoundError,
        ValueError,
        EOFError,
    ):
        return None


def _save(path: str, ids: np.ndarray) -> None:
    """Writes a part, complete or not at all."""
    content = io.BytesIO()
    np.save(content, ids)
    with file_access.write_binary_atomically(path) as file:
        file.write(content.getvalue())


def text_shards(
    paths: list[str], document_per: str, tokenizer: StreamTokenizer
) -> Iterator[tuple[list[_Piece], TextCounts]]:
    """Yields the text of each shard, and how much it is, tokens left out.

    Args:
        paths: the files.
        document_per: what a document is.
        tokenizer: what will make the ids.
    """
    reader = RecordReader(FilesConfig(document_per=document_per))
    # What opens a piece must not get a space in front.
    spaced = getattr(tokenizer, "add_prefix_space", False)
    pieces = _pieces(paths, reader, b" " if spaced else b"\n")
    for shard in _by_size(pieces, SHARD_BYTES):
        yield (
            shard,
            TextCounts(
                # A piece ends before white space, so no word is cut.
                words=sum(_count_words(piece.text) for piece in shard),
                text_bytes=sum(len(piece.text) for piece in shard),
            ),
        )


def _count_words(text: bytes) -> int:
    return len(text.decode("utf-8", errors="replace").split())


def _pieces(
    paths: list[str], reader: RecordReader, before: bytes
) -> Iterator[_Piece]:
    """Yields all documents in pieces."""
    for path in paths:
        for document in reader.read(path):
            text = document if isinstance(document, bytes) else _utf8(document)
            text = text.removeprefix(_BYTE_ORDER_MARK)
            for i, piece in enumerate(cut(text, _PIECE_BYTES, before)):
                yield _Piece(piece, opens=i == 0)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def cut(text: bytes, size: int, before: bytes = b"\n") -> Iterator[bytes]:
    """Cuts a text into pieces that are tokenized as the whole would be.

    Byte-level BPE first splits a text into words, each with the white space
    before it: so a cut before a line end or a space that follows no white
    space changes nothing. Where a space is added to texts that have none in
    front, only one before a space does.

    Args:
        text: UTF-8.
        size: Bytes of a piece at least; the last may be shorter.
        before: The line end or the space that opens all pieces but the first.

    Yields:
        The pieces, in order.
    """
    start = 0
    while start < len(text):
        stop = text.find(before, start + size)
        while stop > 0 and _ends_blank(text[max(stop - 4, 0) : stop]):
            stop = text.find(before, stop + 1)
        if stop < 0:
            stop = len(text)
        yield text[start:stop]
        start = stop


def _ends_blank(text: bytes) -> bool:
    """Returns whether the last character is white space, of any script."""
    return text.decode("utf-8", errors="ignore")[-1:].isspace()


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


def tokenize_pieces(
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
