"""Fingerprints of files, to detect that the files of a run changed."""

import hashlib
from typing import Any

import tensorflow as tf

from tfllm import file_access
from tfllm.data import prepared_folder
from tfllm.data.tables.row import TFDS_PREFIX

_PIECE_BYTES = 1 << 16


def of_files(files: str, flag: str) -> dict[str, str]:
    """Returns the fingerprint of each file, or of a folder of shards.

    A fingerprint is computed from the size, the beginning, the middle and the
    end of a file. So copies have the same one, and large files take no time.

    Args:
        files: Globs, comma-separated, or prepared shards. Data sets such as
            `tfds:NAME/SPLIT` have none.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: A pattern matches no file, or the shards are not finished.
    """
    if files.startswith(TFDS_PREFIX):
        return {}
    if prepared_folder.is_prepared(files):
        shards = prepared_folder.read(files)["shards"]
        names = [prepared_folder.MANIFEST_FILE, *(s["file"] for s in shards)]
        paths = [file_access.join(files, name) for name in names]
        return {files: _digest(paths)}
    return {
        path: _digest([path]) for path in file_access.match_files(files, flag)
    }


def file_state(path: str) -> list[Any]:
    """Returns path, size and time of a file, to detect changes."""
    state = tf.io.gfile.stat(path)
    return [path, state.length, state.mtime_nsec]


def _digest(paths: list[str]) -> str:
    """Returns one fingerprint for several files."""
    digest = hashlib.sha256()
    for path in paths:
        size = tf.io.gfile.stat(path).length
        digest.update(f"{size}\n".encode())
        with file_access.open_binary(path) as file:
            if size <= 3 * _PIECE_BYTES:
                digest.update(file.read())
                continue
            for start in (0, size // 2, size - _PIECE_BYTES):
                file.seek(start)
                digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()[:16]
