"""Opens, lists and atomically writes files on local or remote file systems.

A path with a scheme (`gs://...`, `s3://...`) goes through `tf.io.gfile`, which
is imported only then: the corpus tools and their Beam workers need no
TensorFlow for local files, and start in a fraction of a second.
"""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import IO, Any

# What `-` names where a verb reads from it.
STANDARD_INPUT = "standard input"


def is_remote(path: str) -> bool:
    """Whether a path names a remote file system (`scheme://...`)."""
    return "://" in path


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


def open_binary(path: str) -> IO[bytes]:
    """Opens a local or remote file for reading bytes."""
    if is_remote(path):
        return _gfile().GFile(path, "rb")
    return open(path, "rb")


def exists(path: str) -> bool:
    """Whether a local or remote file exists."""
    return _gfile().exists(path) if is_remote(path) else os.path.exists(path)


def make_folder(path: str) -> None:
    """Creates a folder with its parents; an existing one is fine."""
    if is_remote(path):
        _gfile().makedirs(path)
    else:
        os.makedirs(path, exist_ok=True)


def join(folder: str, name: str) -> str:
    """Joins a folder and a file name, local or remote."""
    return os.path.join(folder, name)


def remove(path: str) -> None:
    """Removes a file; a missing one is fine."""
    if is_remote(path):
        if _gfile().exists(path):
            _gfile().remove(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def remove_folder(path: str) -> None:
    """Removes a folder with what lies in it; a missing one is fine."""
    if is_remote(path):
        if _gfile().exists(path):
            _gfile().rmtree(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def rename(source: str, target: str) -> None:
    """Renames a file over another one."""
    if is_remote(target):
        _gfile().rename(source, target, overwrite=True)
    else:
        os.replace(source, target)


def _matches(pattern: str) -> list[str]:
    if is_remote(pattern):
        return sorted(_gfile().glob(pattern))
    if os.path.exists(pattern):  # a name that happens to hold [ or *
        return [pattern]
    return sorted(
        p for p in glob.glob(pattern, recursive=True) if os.path.isfile(p)
    )


def stamp(path: str) -> tuple[int, int]:
    """Returns what tells a file from others of its name.

    Args:
        path: The file, local or remote.

    Returns:
        Size in bytes and time of the last change in nanoseconds.
    """
    if is_remote(path):
        remote = _gfile().stat(path)
        return remote.length, remote.mtime_nsec
    # Of a local file TensorFlow tells the second only.
    local = os.stat(path)
    return local.st_size, local.st_mtime_ns


def stamps(folder: str, patterns: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns the names and stamps of files.

    Args:
        folder: Local or remote; one that does not exist has no files.
        patterns: Globs of names in it.

    Returns:
        Name, and what `stamp` returns.
    """
    return [
        (os.path.basename(path), *stamp(path))
        for pattern in patterns
        for path in _matches(join(folder, pattern))
    ]


def match_files(patterns: str | Sequence[str], flag: str) -> list[str]:
    """The files that globs name, sorted within a glob, each file once.

    Args:
        patterns: a comma-separated string, or a sequence of paths and globs.
            A local file whose own name holds a comma is taken whole. For
            `input_files`, `-` is STANDARD_INPUT.
        flag: name of the flag the patterns came from, for the messages.

    Returns:
        The paths, in the order of the patterns.

    Raises:
        ValueError: nothing was given, a pattern matches no file, or a pattern
            names a folder.
    """
    if isinstance(patterns, str):
        whole = not is_remote(patterns) and os.path.exists(patterns)
        patterns = [patterns] if whole else patterns.split(",")
    patterns = [p.strip() for p in patterns if p.strip()]
    if not patterns:
        raise ValueError(
            f"`{flag}` must name at least one file. Received: nothing. "
            "Give a path, a glob, or several separated by commas."
        )
    files: dict[str, None] = {}
    for pattern in patterns:
        if pattern == "-" and flag == "input_files":
            files[STANDARD_INPUT] = None
            continue
        if not is_remote(pattern) and os.path.isdir(pattern):
            raise ValueError(
                f"`{flag}` must name files. Received the folder: {pattern}. "
                f"Name its files with a glob such as {pattern}/*.txt."
            )
        matched = _matches(pattern)
        if not matched:
            raise ValueError(
                f"`{flag}` matches no file. Received: {pattern}. "
                "Check the path, and quote globs in the shell."
            )
        files.update(dict.fromkeys(matched))
    return list(files)


@contextlib.contextmanager
def write_atomically(path: str) -> Iterator[IO[str]]:
    r"""Opens `path` for UTF-8 text (`\n` line ends), complete or not at all.

    The text goes to a temporary name in the same folder, which is renamed
    over `path` when the block ends without an exception, and removed when it
    does not.
    """
    with _renamed(path) as temporary:
        if is_remote(path):
            with _gfile().GFile(temporary, "w") as file:
                yield file
        else:
            with open(
                temporary, "w", encoding="utf-8", newline="\n"
            ) as local_file:
                yield local_file


@contextlib.contextmanager
def write_binary_atomically(path: str) -> Iterator[IO[bytes]]:
    """Opens `path` for bytes, complete or not at all; see write_atomically."""
    with _renamed(path) as temporary:
        if is_remote(path):
            with _gfile().GFile(temporary, "wb") as file:
                yield file
        else:
            with open(temporary, "wb") as local_file:
                yield local_file


@contextlib.contextmanager
def _renamed(path: str) -> Iterator[str]:
    """Gives a temporary name that becomes `path`, or is removed."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        yield temporary
        rename(temporary, path)
    except BaseException:
        remove(temporary)
        raise
