"""Text as one long stream of token ids.

The ids come from the shards of `tokenize_files`, which are prepared, or made
when a run first reads its text.
"""

import os

import numpy as np

from tfllm import file_access
from tfllm.data import prepared_folder
from tfllm.data.fingerprints import file_state
from tfllm.data.token_stream import tokenize_files
from tfllm.data.token_stream.config import TASK
from tfllm.data.token_stream.tokenize_files import TextCounts
from tfllm.tokenizers import Tokenizer


class TokenStream:
    """The ids of all documents; made by `open_stream`.

    Args:
        parts: Token ids, in order.
        counts: Tokens, words and bytes of all parts.
        files: Files of the text, for messages.
    """

    def __init__(
        self, parts: list[np.ndarray], counts: TextCounts, files: str
    ) -> None:
        self.counts = counts
        self.files = files
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        """Returns the number of ids."""
        return self.counts.tokens

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns ids from `start` to `stop`, exclusive, as int32."""
        pieces = []
        part = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop and part < len(self._parts):
            begin = int(self._ends[part]) - len(self._parts[part])
            pieces.append(self._parts[part][start - begin : stop - begin])
            start = int(self._ends[part])
            part += 1
        if not pieces:
            return np.zeros(0, np.int32)
        return np.concatenate(pieces).astype(np.int32)


def open_stream(
    files: str,
    tokenizer: Tokenizer,
    document_per: str = "blank_line",
    index_dir: str | None = None,
    flag: str = "train_files",
) -> TokenStream:
    """Opens prepared shards, or tokenizes text files.

    Args:
        files: Folder of prepared shards, or text or JSONL, plain or gzip:
            paths and globs, comma-separated.
        tokenizer: The tokenizer of the run.
        document_per: What a document of a text file is: "blank_line" (text
            between blank lines), "line" or "file" (the whole file; line ends
            become line feeds, and the last one is removed).
        index_dir: Folder that keeps token ids between runs; None keeps them
            in memory.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: A file is missing, empty or binary, there is too little
            text, or shards do not fit the tokenizer or `document_per`.
    """
    if prepared_folder.is_prepared(files):
        stream = _read_prepared(files, tokenizer, document_per)
    else:
        paths = file_access.match_files(files, flag)
        stream = (
            _in_memory(paths, tokenizer, document_per, files)
            if index_dir is None
            else _through_index(
                paths, tokenizer, document_per, index_dir, files
            )
        )
    if stream.counts.tokens < 2:
        raise ValueError(
            f"`{flag}` must hold at least two tokens of text. Received: "
            f"{stream.counts.tokens} in {files}."
        )
    return stream


def _in_memory(
    paths: list[str], tokenizer: Tokenizer, document_per: str, files: str
) -> TokenStream:
    """Tokenizes files into memory."""
    parts: list[np.ndarray] = []
    counts = TextCounts()
    shards = tokenize_files.text_shards(paths, document_per, tokenizer)
    for shard, size in shards:
        ids = tokenize_files.tokenize_pieces(shard, tokenizer, not parts)
        parts.append(ids)
        counts += size + TextCounts(tokens=len(ids))
    return TokenStream(parts, counts, files)


def _through_index(
    paths: list[str],
    tokenizer: Tokenizer,
    document_per: str,
    index_dir: str,
    files: str,
) -> TokenStream:
    """Loads the shards of files from the index; makes them if missing."""
    sources = [file_state(path) for path in paths]
    key = prepared_folder.settings_key(
        tokenize_files.settings_of(tokenizer, document_per, sources)
    )
    folder = os.path.join(index_dir, f"tokens-{key}")
    try:
        return _load_shards(folder, files)
    except ValueError:  # unfinished or damaged: makes the missing shards
        tokenize_files.tokenize_files(
            paths, tokenizer, document_per, folder, sources
        )
        return _load_shards(folder, files)


def _read_prepared(
    folder: str, tokenizer: Tokenizer, document_per: str
) -> TokenStream:
    """Loads prepared shards; checks that they fit the run."""
    settings = prepared_folder.read(folder, TASK)["settings"]
    prepared_folder.check_tokenizer(folder, settings, tokenizer)
    if settings["document_per"] != document_per:
        raise ValueError(
            "`document_per` must be that of the shards, "
            f"{settings['document_per']}. Received: {document_per} for "
            f"{folder}. Change the flag, or prepare the shards again."
        )
    return _load_shards(folder, folder)


def _load_shards(folder: str, files: str) -> TokenStream:
    """Loads the shards of a finished folder as one stream."""
    content = prepared_folder.read(folder, TASK)
    parts = []
    for shard in content["shards"]:
        path = file_access.join(folder, shard["file"])
        ids = tokenize_files.load_shard(path)
        if ids is None or len(ids) != shard["tokens"]:
            raise ValueError(
                f"A shard is damaged. Received: {path}. Move it away and run "
                "tools.prepare_data again with the same flags."
            )
        parts.append(ids)
    counts = (content[name] for name in ("tokens", "words", "text_bytes"))
    return TokenStream(parts, TextCounts(*counts), files)
