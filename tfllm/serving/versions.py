"""Folders of versions, BASE/<version>/, which servers poll."""

import contextlib
import fcntl
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Iterator

from tfllm import file_access

logger = logging.getLogger(__name__)
_TEMPORARY = ".tmp-"
# Matches the temporary names of `new_version` only.
_LEFTOVER = re.compile(rf"{re.escape(_TEMPORARY)}\d+-\d+", re.ASCII)


def next_version(base: str) -> int:
    """Returns the number after the largest one in a folder."""
    if not os.path.isdir(base):
        return 1
    return 1 + max(
        (int(n) for n in os.listdir(base) if _is_version(n)), default=0
    )


def check_format(base: pathlib.Path, other: str) -> None:
    """Raises ValueError if the folder has versions of another format.

    A server would take such versions for damaged ones.

    Args:
        base: Folder of the model.
        other: Name of a file that versions of the other format hold.
    """
    names = os.listdir(base) if base.is_dir() else []
    versions = [
        name
        for name in names
        if _is_version(name) and (base / name / other).is_file()
    ]
    if versions:
        raise ValueError(
            "`export_dir` must hold versions of one format. Received: "
            f"{str(base)!r}, where {', '.join(sorted(versions))} have {other}. "
            "Export to another folder."
        )


@contextlib.contextmanager
def new_version(base: str, version: int) -> Iterator[pathlib.Path]:
    """Yields an empty folder that becomes BASE/<version>/ after the block.

    The folder has a temporary name that servers ignore. It is renamed once all
    files are on disk, and removed if the block fails.

    Args:
        base: Folder of the model, which is created if missing.
        version: Positive number.

    Yields:
        The folder.

    Raises:
        ValueError: The version exists, or `base` is not local.
    """
    if file_access.is_remote(base):
        raise ValueError(
            "`export_dir` must be local: a remote one cannot rename a folder "
            f"at once. Received: {base!r}. Export here, and copy it there "
            "with saved_model.pb last."
        )
    target = pathlib.Path(base) / str(version)
    known = (
        {int(n) for n in os.listdir(base) if _is_version(n)}
        if os.path.isdir(base)
        else set()
    )
    if version < 1 or version in known:
        raise ValueError(
            "`version` must be a positive number without a folder yet. "
            f"Received: {version}, in {base!r} with {sorted(known)}. Leave it "
            "out for the next one."
        )
    os.makedirs(base, exist_ok=True)
    temporary = pathlib.Path(base) / f"{_TEMPORARY}{version}-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        with _locked(pathlib.Path(base)):
            _remove_leftovers(pathlib.Path(base))
            temporary.mkdir()
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)
            # The lock ends with the process, even if it is killed.
            stack.enter_context(_locked(temporary))
        yield temporary
        _sync(temporary)
        os.rename(temporary, target)
        _sync_folder(pathlib.Path(base))


def _remove_leftovers(base: pathlib.Path) -> None:
    """Removes the temporary folders of killed exports and logs it.

    Running exports hold a lock on their folder.
    """
    removed = []
    for folder in sorted(base.iterdir()):
        if not _LEFTOVER.fullmatch(folder.name):
            continue
        with contextlib.suppress(OSError), _locked(folder, wait=False):
            shutil.rmtree(folder)
            removed.append(folder.name)
    if removed:
        logger.warning(
            "removed from %s what killed exports left there: %s",
            base,
            ", ".join(removed),
        )


@contextlib.contextmanager
def _locked(folder: pathlib.Path, wait: bool = True) -> Iterator[None]:
    """Locks a folder within the block; the lock ends with the process.

    Args:
        folder: Folder to lock.
        wait: Wait for another process that holds the lock.

    Raises:
        OSError: Another process holds the lock, or the file system has no
            locks.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if wait:
            # Without locks on this file system, no export removes folders.
            with contextlib.suppress(OSError):
                fcntl.flock(number, fcntl.LOCK_EX)
        else:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


def _is_version(name: str) -> bool:
    """Whether a server takes a name for a version."""
    return name.isascii() and name.isdigit()


def _sync(folder: pathlib.Path) -> None:
    """Waits until all files are on disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: pathlib.Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
