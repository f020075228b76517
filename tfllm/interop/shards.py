"""Weights as one file, or as shards with an index."""

import json
import os
import pathlib
from collections.abc import Collection


def has_tensors(folder: pathlib.Path, file: str, index_file: str) -> bool:
    """Returns whether a folder has a file of weights or an index of shards."""
    return any((folder / name).is_file() for name in (file, index_file))


def shard_names(folder: pathlib.Path, file: str, index_file: str) -> list[str]:
    """Returns the names of the files that hold the tensors of a folder.

    Args:
        folder: Local folder.
        file: Name of a file with all tensors.
        index_file: Name of the index of shards.

    Raises:
        ValueError: There are no weights; or the index is damaged, or names
            a file that is missing or outside the folder.
    """
    if (folder / file).is_file():
        return [file]
    index = folder / index_file
    if not index.is_file():
        raise ValueError(
            f"model folder '{folder}' must hold {file} or {index_file}. "
            f"Received: {_other_weights(folder) or 'no weights at all'}. "
            "Convert them with tools.convert_checkpoint, or save the model "
            "again as safetensors."
        )
    names = sorted(set(_weight_map(index).values()))
    missing = [
        name
        for name in names
        if os.path.basename(name) != name or not (folder / name).is_file()
    ]
    if missing:
        more = f", and {len(missing) - 5} more" if missing[5:] else ""
        raise ValueError(
            f"'{index}' names files that are not there. "
            f"Received: {', '.join(missing[:5])}{more}. Fetch them again."
        )
    return names


def check_index(
    folder: pathlib.Path, file: str, index_file: str, names: Collection[str]
) -> None:
    """Raises ValueError if shards lack a tensor that their index names.

    Args:
        folder: Local folder.
        file: Name of a file with all tensors, which needs no index.
        index_file: Name of the index of shards.
        names: Names of the tensors in the shards.
    """
    if (folder / file).is_file():
        return
    index = folder / index_file
    places = _weight_map(index)
    missing = sorted(set(places) - set(names))
    if missing:
        raise ValueError(
            f"'{folder / places[missing[0]]}' must hold {missing[0]}, as "
            f"'{index}' says. Received: no such tensor. Fetch both again."
        )


def _weight_map(index: pathlib.Path) -> dict[str, str]:
    """Returns the name of the file of each tensor."""
    try:
        return dict(json.loads(index.read_bytes())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"'{index}' must be JSON with a `weight_map`. "
            f"Received: {error!r}. Fetch it again."
        ) from error


def _other_weights(folder: pathlib.Path) -> list[str]:
    """Returns the names of weights in other formats, sorted."""
    endings = ("bin", "safetensors", "h5", "ckpt*", "pth", "pt", "gguf")
    return sorted(
        path.name for end in endings for path in folder.glob(f"*.{end}")
    )
