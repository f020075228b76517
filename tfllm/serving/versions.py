"""The folder of a model, BASE/<version>/, as servers poll it."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from tfllm import file_access


def next_version(base: str) -> int:
    """Returns the number after the largest one in a folder."""
    if not os.path.isdir(base):
        return 1
    return 1 + max(
        (int(n) for n in os.listdir(base) if _is_version(n)), default=0
    )


def check_format(base: pathlib.Path, other: str) -> None:
    """Raises ValueError if there are versions of another format.

    A server would take them for damaged ones.

    Args:
        base: Folder of the model.
        other: Name of a file that those of the other format have.
    """
    names = os.listdir(base) if base.is_dir() else []
    found = [
        name
        for name in names
        if _is_version(name) and (base / name / other).is_file()
    ]
    if found:
        raise ValueError(
            "`export_dir` must hold versions of one format. Received: "
            f"{str(base)!r}, where {', '.join(sorted(found))} have {other}. "
            "Export to another folder."
        )


@contextlib.contextmanager
def new_version(base: str, version: int) -> Iterator[pathlib.Path]:
    """Gives an empty folder that becomes BASE/<version>/ when all went well.

    Its name is none that a server takes for a version; it is renamed once
    all of it is on the disk, and removed if the block fails.

    Args:
        base: Folder of the model; created if missing.
        version: A positive number.

    Yields:
        The folder.

    Raises:
        ValueError: There is such a version, or `base` is not local.
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
    temporary = pathlib.Path(base) / f".tmp-{version}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        _sync(temporary)
        os.rename(temporary, target)
        _sync_folder(pathlib.Path(base))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_version(name: str) -> bool:
    """Whether a server takes a name for a version."""
    return name.isascii() and name.isdigit()


def _sync(folder: pathlib.Path) -> None:
    """Waits until all files are on the disk."""
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
