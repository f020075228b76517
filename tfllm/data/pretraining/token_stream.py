"""Text as one long row of token ids.

The ids lie in the shards of `tokenize_files`: prepared, or made when a run
first reads its text.
"""

import os

import numpy as np

from tfllm import file_access
from tfllm.data.pretraining import prepared_folder, tokenize_files
from tfllm.data.pretraining.sources import file_state
from tfllm.data.pretraining.tokenize_files import StreamTokenizer, TextCounts


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
    """Opens prepared shards, or tokenizes text files unless that was done.

    Args:
        files: A folder that `tools.prepare_data` wrote, or text or JSONL,
            plain or gzip: paths and globs, comma-separated.
        tokenizer: The tokenizer of the run.
        document_per: What a document of a text file is: "blank_line" (text
            between blank lines), "line" or "file" (all of it; line ends
            become line feeds, and the last one is left out).
        index_dir: Folder for the ids of text; None keeps them in memory.
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
    paths: list[str], tokenizer: StreamTokenizer, document_per: str, files: str
) -> TokenStream:
    """Tokenizes files and writes nothing."""
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
    tokenizer: StreamTokenizer,
    document_per: str,
    index_dir: str,
    files: str,
) -> TokenStream:
    """Finds the shards of files in a folder of the run, or makes them."""
    sources = [file_state(path) for path in paths]
    key = prepared_folder.settings_key(
        tokenize_files.settings_of(tokenizer, document_per, sources)
    )
    folder = os.path.join(index_dir, f"tokens-{key}")
    try:
        return _load(folder, files)
    except ValueError:  # not finished, or damaged: what is missing is made
        tokenize_files.tokenize_files(
            paths, tokenizer, document_per, folder, sources
        )
        return _load(folder, files)


def _read_prepared(
    folder: str, tokenizer: StreamTokenizer, document_per: str
) -> TokenStream:
    """Opens shards that fit a run."""
    settings = prepared_folder.read(folder, tokenize_files.TASK)["settings"]
    prepared_folder.check_vocabulary(
        folder, settings, tokenizer.vocab_size, tokenizer.vocab_hash()
    )
    if settings["document_per"] != document_per:
        raise ValueError(
            "`document_per` must be that of the shards, "
            f"{settings['document_per']}. Received: {document_per} for "
            f"{folder}. Change the flag, or prepare the shards again."
        )
    return _load(folder, folder)


def _load(folder: str, files: str) -> TokenStream:
    """Returns the shards of a finished folder as one."""
    content = prepared_folder.read(folder, tokenize_files.TASK)
    parts = []
    for shard in content["shards"]:
        path = file_access.join(folder, shard["file"])
        ids = tokenize_files.load_shard(path)
        if ids is None or len(ids) != shard["tokens"]:
            raise ValueError(
                f"A shard is damaged. Received: {path}. Delete it and run "
                "tools.prepare_data again with the same flags."
            )
        parts.append(ids)
    counts = (content[name] for name in ("tokens", "words", "text_bytes"))
    return TokenStream(parts, TextCounts(*counts), files)
