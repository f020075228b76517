"""Folders that appear once they are whole."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from tfllm import file_access
from tfllm.interop import local_folders, tensor_files


@contextlib.contextmanager
def staged_folder(folder: str) -> Iterator[pathlib.Path]:
    """Gives a temporary folder that becomes `folder` if the block ends well."""
    folder = os.path.expanduser(folder)
    if file_access.is_remote(folder):
        with tempfile.TemporaryDirectory() as staged:
            yield pathlib.Path(staged)
            with local_folders.named_write_errors(folder):
                local_folders.copy_model_files(staged, folder)
        return
    target = pathlib.Path(folder).absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ValueError(
            "`output_dir` must be a new or an empty folder. Received: "
            f"'{folder}', which holds files. Name another, or delete it."
        )
    with local_folders.named_write_errors(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = tempfile.mkdtemp(
            prefix=f".{target.name}.", suffix=".partial", dir=target.parent
        )
    try:
        yield pathlib.Path(staged)
        with local_folders.named_write_errors(folder):
            pathlib.Path(staged).chmod(0o777 & ~tensor_files.umask())
            os.replace(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
