"""Local copies of model folders: of remote folders and of models on the hub."""

import contextlib
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator

from tfllm import file_access
from tfllm.interop import hub
from tfllm.interop.config_file import CONFIG_FILE

# Folders in a model folder: modules of sentence-transformers, such as
# 1_Pooling, and the generator beside a discriminator.
_MODULE_FOLDER = re.compile(r"\d+_\w+|generator")


@contextlib.contextmanager
def local_folder(
    folder: str | os.PathLike[str], revision: str | None = None
) -> Iterator[pathlib.Path]:
    """Gives a local folder for a local or remote one, or for a hub id.

    Args:
        folder: A folder; `~` is the home of the user. If no such folder
            exists, `organisation/name` on the Hugging Face hub, or one of
            its short names, such as `gpt2`; `id@revision` names a revision.
        revision: Branch, tag or commit of a hub id.

    Yields:
        The folder. The copy of a remote folder is deleted when the block
        ends.

    Raises:
        ValueError: There is no such folder, here or on the hub.
    """
    name = os.path.expanduser(os.fspath(folder))
    is_folder = file_access.is_remote(name) or os.path.exists(name)
    if is_folder and revision is not None:
        raise ValueError(
            "`revision` goes with a hub id. Received: "
            f"{revision!r} with the folder '{name}'. Leave it out."
        )
    hub_id, named_revision = hub.split_revision(name)
    if not is_folder and named_revision and revision is not None:
        raise ValueError(
            "`revision` must be left out beside `id@revision`. Received: "
            f"{revision!r} with '{name}'. Name the revision once."
        )
    if file_access.is_remote(name):
        with tempfile.TemporaryDirectory() as copy:
            copy_model_files(name, copy)
            yield pathlib.Path(copy)
    elif os.path.isdir(name):
        yield pathlib.Path(name)
    elif not is_folder and hub.may_be_hub_id(hub_id):
        yield hub.fetch(hub_id, named_revision or revision)
    else:
        raise ValueError(
            "a model folder must exist, or be a hub id such as "
            f"google-bert/bert-base-uncased. Received: {name!r}, "
            + ("which is no folder" if is_folder else "neither of them")
        )


@contextlib.contextmanager
def staging_folder(folder: str) -> Iterator[pathlib.Path]:
    """Gives a local folder to write to; copies it to a remote `folder`."""
    if not file_access.is_remote(folder):
        yield pathlib.Path(folder)
        return
    with tempfile.TemporaryDirectory() as local:
        yield pathlib.Path(local)
        copy_model_files(local, folder)


@contextlib.contextmanager
def named_write_errors(folder: str) -> Iterator[None]:
    """Turns each failure to write into an OSError that names the folder."""
    try:
        yield
    except OSError as error:
        if folder in str(error):
            raise
        raise OSError(f"cannot write '{folder}': {error}") from error
    except Exception as error:
        tf = sys.modules.get("tensorflow")
        if tf is None or not isinstance(error, tf.errors.OpError):
            raise
        raise OSError(f"cannot write '{folder}': {error}") from error


def copy_model_files(source: str, target: str) -> None:
    """Copies the files of a model folder and of the folders in it.

    config.json comes last: a folder that has one is complete.
    """
    import tensorflow as tf

    names = [n.rstrip("/") for n in tf.io.gfile.listdir(source)]
    file_access.make_folder(target)
    for name in sorted(names, key=lambda n: (n == CONFIG_FILE, n)):
        path = file_access.join(source, name)
        if not tf.io.gfile.isdir(path):
            partial = file_access.join(target, f"{name}.partial")
            tf.io.gfile.copy(path, partial, overwrite=True)
            file_access.rename(partial, file_access.join(target, name))
        elif _MODULE_FOLDER.fullmatch(name):
            copy_model_files(path, file_access.join(target, name))
