"""Tokenizes text files into shards, in parallel and resumable.

Documents follow each other, with an end-of-text token in between. A shard is a
NumPy file with the token ids of a few megabytes of text, uint16 if they fit,
else int32. Shards depend on the text alone: they are the same for any number of
workers, and a run that was killed continues with the missing ones. Memory is
that of two shards per worker.
"""

import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm import file_access
from tfllm.data import prepared_folder, worker_pool
from tfllm.data.corpus.sources import FilesConfig, RecordReader
from tfllm.data.token_stream.config import TASK, TokenizeConfig
from tfllm.tokenizers import Tokenizer, load_tokenizer
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.text_input import utf8

SHARD_BYTES = 1 << 22
_PIECE_BYTES = 1 << 14
_BATCH = 64  # pieces per call of the tokenizer
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Piece(NamedTuple):
    """A part of a document, small enough for one call of the tokenizer."""

    text: bytes
    opens: bool


@dataclass(frozen=True)
class TextCounts:
    """Size of a text.

    Attributes:
        tokens: Token ids, including those between documents.
        words: Words between white space (that of Unicode), as `str.split`
            counts them.
        text_bytes: UTF-8 bytes of all documents.
    """

    tokens: int = 0
    words: int = 0
    text_bytes: int = 0

    def __add__(self, other: "TextCounts") -> "TextCounts":
        """Returns the size of both texts together."""
        return TextCounts(
            self.tokens + other.tokens,
            self.words + other.words,
            self.text_bytes + other.text_bytes,
        )


def prepare_stream(config: TokenizeConfig) -> TextCounts:
    """Tokenizes text files into a folder; continues an unfinished one.

    Args:
        config: Files, tokenizer and output folder.

    Returns:
        The size of the text.

    Raises:
        ValueError: The input is bad, or the folder has shards made with
            other settings.
        OSError: A file cannot be written, or a worker died.
    """
    paths = file_access.match_files(config.input_files, "input_files")
    tokenizer = load_tokenizer(config.tokenizer, spec=config.spec)
    if not tokenizer.keeps_spaces:
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
        origin=(config.tokenizer, config.spec),
        overwrite=config.overwrite,
    )


def tokenize_files(
    paths: list[str],
    tokenizer: Tokenizer,
    document_per: str,
    folder: str,
    sources: list[Any],
    workers: int = 1,
    origin: tuple[str, TokenizerSpec | None] | None = None,
    overwrite: bool = False,
) -> TextCounts:
    """Writes the missing shards of text files.

    Args:
        paths: The text files.
        tokenizer: Tokenizer of the files.
        document_per: What a document is; see `FilesConfig`.
        folder: Folder for the shards.
        sources: Names and sizes or times of the files, to detect changes.
        workers: Number of processes; more than 1 need `origin`.
        origin: Path of the tokenizer and the spec of its family.
        overwrite: Whether to delete shards made with other settings.

    Returns:
        The size of the text.

    Raises:
        ValueError: As `prepare_stream`.
        OSError: As `prepare_stream`.
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

        def missing_shards() -> Iterator[tuple[int, list[_Piece], str]]:
            shards = text_shards(paths, document_per, tokenizer)
            for number, (shard, size) in enumerate(shards):
                path = shard_path(folder, number)
                ids = load_shard(path) if resumed else None
                counts[number] = size
                if ids is None:
                    yield number, shard, path
                else:
                    add_tokens(number, len(ids))

        def add_tokens(number: int, tokens: int) -> None:
            counts[number] += TextCounts(tokens=tokens)
            progress.update(counts[number].text_bytes)

        # Other processes load the tokenizer from its files.
        source = tokenizer if workers == 1 else origin
        for number, tokens in worker_pool.run(
            _write_tokens, missing_shards(), workers, _start_worker, (source,)
        ):
            add_tokens(number, tokens)
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
    tokenizer: Tokenizer, document_per: str, sources: list[Any]
) -> dict[str, Any]:
    """Returns the settings of shards; see `tokenize_files`."""
    return {
        "format_version": prepared_folder.FORMAT_VERSION,
        "task": TASK,
        "document_per": document_per,
        "shard_bytes": SHARD_BYTES,
        "sources": sources,
        **prepared_folder.tokenizer_settings(tokenizer),
    }


# The tokenizer of a worker process.
_tokenizer: Tokenizer | None = None


def _start_worker(
    source: Tokenizer | tuple[str, TokenizerSpec | None],
) -> None:
    """Sets the tokenizer of this process, loaded if it is a path and a spec."""
    global _tokenizer
    _tokenizer = (
        load_tokenizer(source[0], spec=source[1])
        if isinstance(source, tuple)
        else source
    )


def _write_tokens(
    number: int, shard: list[_Piece], path: str
) -> tuple[int, int]:
    """Tokenizes and writes a shard; returns its number and token count."""
    assert _tokenizer is not None
    ids = tokenize_pieces(shard, _tokenizer, number == 0)
    _save_ids(path, ids)
    return number, len(ids)


def shard_name(number: int) -> str:
    """Returns the file name of a shard."""
    return prepared_folder.shard_name(number, ".npy")


def shard_path(folder: str, number: int) -> str:
    """Returns the path of a shard."""
    return file_access.join(folder, shard_name(number))


def load_shard(path: str) -> np.ndarray | None:
    """Maps a local shard into memory, or reads a remote one.

    Args:
        path: Path of the shard.

    Returns:
        uint16 or int32 [tokens]; None if the shard is missing or damaged.
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


def _save_ids(path: str, ids: np.ndarray) -> None:
    """Writes the ids of a shard atomically."""
    content = io.BytesIO()
    np.save(content, ids)
    with file_access.write_binary_atomically(path) as file:
        file.write(content.getvalue())


def text_shards(
    paths: list[str], document_per: str, tokenizer: Tokenizer
) -> Iterator[tuple[list[_Piece], TextCounts]]:
    """Yields the text of each shard, and its words and bytes.

    Args:
        paths: The text files.
        document_per: What a document is; see `FilesConfig`.
        tokenizer: Tokenizer that will read the text.
    """
    reader = RecordReader(FilesConfig(document_per=document_per))
    # The tokenizer must not put a space before a piece.
    opens = b" " if tokenizer.add_prefix_space else b"\n"
    pieces = _pieces(paths, reader, opens)
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
    """Returns the number of words between white space."""
    return len(text.decode("utf-8", errors="replace").split())


def _pieces(
    paths: list[str], reader: RecordReader, before: bytes
) -> Iterator[_Piece]:
    """Yields the documents of all files in pieces."""
    for path in paths:
        for number, document in enumerate(reader.read(path)):
            place = f"document {number} of {path}, counted from 0,"
            text = (
                document
                if isinstance(document, bytes)
                else utf8(document, place)
            )
            text = text.removeprefix(_BYTE_ORDER_MARK)
            for i, piece in enumerate(cut(text, _PIECE_BYTES, before)):
                yield _Piece(piece, opens=i == 0)


def cut(text: bytes, size: int, before: bytes = b"\n") -> Iterator[bytes]:
    """Cuts a text into pieces whose tokens are those of the whole text.

    Byte-level BPE first splits a text into words, each with the white space
    before it. So a cut before a line end or a space, with no white space
    before it, changes no token. If the tokenizer puts a space before texts
    without one, only cuts before a space are safe.

    Args:
        text: UTF-8 bytes.
        size: Least bytes of a piece; the last may be shorter.
        before: Line end or space that begins all pieces but the first.

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
    """Returns whether the last character is white space (of Unicode)."""
    return text.decode("utf-8", errors="ignore")[-1:].isspace()


def _by_size(pieces: Iterable[_Piece], size: int) -> Iterator[list[_Piece]]:
    """Groups pieces into lists of at least `size` bytes, but for the last."""
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
    part: list[_Piece], tokenizer: Tokenizer, first: bool
) -> np.ndarray:
    """Returns the token ids of a shard, uint16 if they fit, else int32.

    Args:
        part: Pieces of the shard.
        tokenizer: The tokenizer.
        first: Whether this is the first shard, with no document before it.
    """
    eos, opens = tokenizer.special.eos, tokenizer.row_template.opens
    between = [*([] if eos is None else [eos]), *opens]
    ids: list[np.ndarray] = []
    for start in range(0, len(part), _BATCH):
        batch = part[start : start + _BATCH]
        rows = tokenizer.tokenize(tf.constant([p.text for p in batch]))
        flat, splits = rows.flat_values.numpy(), rows.row_splits.numpy()
        for piece, (low, high) in zip(
            batch, itertools.pairwise(splits), strict=True
        ):
            if piece.opens:
                is_first = first and not ids
                before = opens if is_first else between
                ids.append(np.array(before, np.int32))
            ids.append(flat[low:high])
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32
    return np.concatenate(ids).astype(dtype)
