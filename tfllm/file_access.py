"""Opens, lists and atomically writes files on local or remote file systems.

Paths with a scheme (`gs://...`, `s3://...`) go through `tf.io.gfile`. Only they
import TensorFlow: the corpus tools and their Beam workers start in a fraction
of a second.
"""

import contextlib
import fnmatch
import glob
import importlib
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import IO, Any

# Name of the input `-`.
STANDARD_INPUT = "standard input"


def is_remote(path: str) -> bool:
    """Returns whether a path is on a remote file system (`scheme://...`)."""
    return "://" in path


def expand(paths: str) -> str:
    """Expands `~` and `~user` in paths.

    Args:
        paths: Paths and globs, comma-separated. A local file with a comma in
            its name is one path.
    """
    whole = os.path.expanduser(paths)
    if os.path.exists(whole):
        return whole
    return ",".join(map(os.path.expanduser, paths.split(",")))


def split(paths: str) -> list[str]:
    """Splits paths and globs at commas.

    Args:
        paths: Paths and globs, comma-separated. A local file with a comma in
            its name is one path.
    """
    if not is_remote(paths) and os.path.exists(os.path.expanduser(paths)):
        return [paths]
    return [part.strip() for part in paths.split(",") if part.strip()]


def check_scheme(path: str) -> None:
    """Raises ValueError if TensorFlow has no file system for a remote path."""
    import tensorflow as tf

    scheme = path.partition("://")[0]
    reason = ""
    if scheme not in tf.io.gfile.get_registered_schemes():
        try:
            importlib.import_module("tensorflow_io")  # registers its own
        except Exception as error:  # of its libraries as well
            reason = f" ({error})"
    if scheme not in tf.io.gfile.get_registered_schemes():
        raise ValueError(
            f"TensorFlow has no file system for {scheme}://. Received: "
            f"{path}{reason}. Install one that goes with TensorFlow "
            f"{tf.__version__}, as `pip install tensorflow-io` does for s3 "
            "and hdfs, or copy the files to a local folder."
        )


def check_plain(path: str, flag: str) -> None:
    """Raises ValueError if TensorFlow would take a folder's name for a pattern.

    It finds checkpoints and the weights of a SavedModel by pattern: for m[1] it
    would find those in m1.

    Args:
        path: Folder of checkpoints or of a SavedModel.
        flag: Name of its flag, for the message.
    """
    if set(path) & set("*?[\\"):
        raise ValueError(
            f"`{flag}` must hold none of * ? [ and \\: TensorFlow takes them "
            "for a pattern, and would read and delete files of "
            f"other folders. Received: {path}. Give another name."
        )


def check_output_file(path: str, flag: str) -> None:
    """Raises ValueError if a local file cannot be written.

    Args:
        path: File to write; remote ones are not checked.
        flag: Name of its flag, for the message.
    """
    if is_remote(path):
        return
    if os.path.isdir(path):
        raise ValueError(
            f"`{flag}` must be a file. Received: {path}, a folder. Name a "
            f"file in it, such as {join(path, 'results.jsonl')}."
        )
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        kind = "a file" if os.path.exists(folder) else "no such folder"
        raise ValueError(
            f"`{flag}` must lie in a folder that exists. Received: {path}, "
            f"where {folder} is {kind}. Make that folder, or name another."
        )
    _check_can_write(folder, path, flag)


def check_output_folder(path: str, flag: str) -> None:
    """Raises ValueError if a local folder cannot be created or written.

    Args:
        path: Folder, which may exist; remote ones are not checked.
        flag: Name of its flag, for the message.
    """
    if is_remote(path):
        return
    folder = os.path.abspath(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise ValueError(
            f"`{flag}` must be a folder. Received: {path}, where {folder} is "
            "a file. Name another folder."
        )
    _check_can_write(folder, path, flag)


def _check_can_write(folder: str, path: str, flag: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"`{flag}` must lie where this user may write. Received: {path}, "
            f"with no such right in {folder}. Name another place."
        )


def _gfile(path: str) -> Any:
    """Returns the functions for a remote path; ValueError if there are none."""
    import tensorflow as tf

    check_scheme(path)
    return tf.io.gfile


def open_binary(path: str) -> IO[bytes]:
    """Opens a local or remote file for reading bytes."""
    if is_remote(path):
        return _gfile(path).GFile(path, "rb")
    return open(path, "rb")


def exists(path: str) -> bool:
    """Returns whether a local or remote file exists."""
    if is_remote(path):
        return _gfile(path).exists(path)
    return os.path.exists(path)


def make_folder(path: str) -> None:
    """Creates a folder with its parents; an existing one is fine."""
    if is_remote(path):
        _gfile(path).makedirs(path)
    else:
        os.makedirs(path, exist_ok=True)


def join(folder: str, name: str) -> str:
    """Joins a folder and a file name, local or remote."""
    return os.path.join(folder, name)


def remove(path: str) -> None:
    """Removes a file; a missing one is fine."""
    if is_remote(path):
        if exists(path):
            _gfile(path).remove(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def remove_folder(path: str) -> None:
    """Removes a folder and its contents; a missing one is fine."""
    if is_remote(path):
        if exists(path):
            _gfile(path).rmtree(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def rename(source: str, target: str) -> None:
    """Renames a file over another one."""
    if is_remote(target):
        _gfile(target).rename(source, target, overwrite=True)
    else:
        os.replace(source, target)


def _matches(pattern: str) -> list[str]:
    if exists(pattern):  # a name that happens to hold [ or *
        return [pattern]
    if is_remote(pattern):
        return sorted(_gfile(pattern).glob(pattern))
    return sorted(
        p for p in glob.glob(pattern, recursive=True) if os.path.isfile(p)
    )


def stamp(path: str) -> tuple[int, int]:
    """Returns the size and modification time of a file.

    Args:
        path: Local or remote file.

    Returns:
        Size in bytes, and modification time in nanoseconds.
    """
    if is_remote(path):
        remote = _gfile(path).stat(path)
        return remote.length, remote.mtime_nsec
    # TensorFlow gives only seconds for local files.
    local = os.stat(path)
    return local.st_size, local.st_mtime_ns


def in_folder(folder: str, patterns: Sequence[str]) -> list[str]:
    """Returns the paths in a folder that match patterns, by pattern and name.

    Args:
        folder: Local or remote folder; a missing one is empty. Its name is
            not a pattern.
        patterns: Globs of names in the folder.
    """
    if is_remote(folder):
        gfile = _gfile(folder)
        entries = gfile.listdir(folder) if gfile.isdir(folder) else []
        names = [name.rstrip("/") for name in entries]
    else:
        names = os.listdir(folder) if os.path.isdir(folder) else []
    return [
        join(folder, name)
        for pattern in patterns
        for name in fnmatch.filter(sorted(names), pattern)
    ]


def stamps(folder: str, patterns: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns the names and stamps of files.

    Args:
        folder: Local or remote folder; a missing one is empty.
        patterns: Globs of names in the folder.

    Returns:
        (name, size, modification time) of each file.
    """
    return [
        (os.path.basename(path), *stamp(path))
        for path in in_folder(folder, patterns)
    ]


def match_files(patterns: str | Sequence[str], flag: str) -> list[str]:
    """Returns the files that match globs, without duplicates.

    A path that exists is not a glob, even with * or [ in its name.

    Args:
        patterns: Paths and globs, a sequence or comma-separated. `~` is
            expanded. For `input_files`, `-` is STANDARD_INPUT.
        flag: Name of the flag of the patterns, for messages.

    Returns:
        Paths in the order of the patterns, sorted within each.

    Raises:
        ValueError: There is no pattern, a pattern matches no file, or it names
            a folder.
    """
    if isinstance(patterns, str):
        patterns = split(patterns)
    patterns = [os.path.expanduser(p.strip()) for p in patterns if p.strip()]
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
    r"""Opens a file to write UTF-8 text (`\n` line ends) atomically.

    The text goes to a temporary file in the same folder. It is renamed to
    `path` when the block ends, and removed after an exception.
    """
    with _renamed(path) as temporary:
        if is_remote(path):
            with _gfile(path).GFile(temporary, "w") as file:
                yield file
        else:
            with open(
                temporary, "w", encoding="utf-8", newline="\n"
            ) as local_file:
                yield local_file


@contextlib.contextmanager
def write_binary_atomically(path: str) -> Iterator[IO[bytes]]:
    """Opens a file to write bytes atomically; see `write_atomically`."""
    with _renamed(path) as temporary:
        if is_remote(path):
            with _gfile(path).GFile(temporary, "wb") as file:
                yield file
        else:
            with open(temporary, "wb") as local_file:
                yield local_file


@contextlib.contextmanager
def _renamed(path: str) -> Iterator[str]:
    """Yields a temporary name that is renamed to `path`, or removed."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        yield temporary
        rename(temporary, path)
    except BaseException:
        remove(temporary)
        raise
