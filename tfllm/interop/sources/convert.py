"""Converts a checkpoint of another library to a model folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from tfllm import file_access
from tfllm.interop import (
    folder_writer,
    local_folders,
    model_card,
    model_folder,
    tensor_files,
    weights,
)
from tfllm.interop.config_file import CONFIG_FILE, read_config
from tfllm.interop.sources import table
from tfllm.interop.sources.contract import Checkpoint, Options, Reference
from tfllm.interop.sources.staging import staged_folder
from tfllm.models import Family

if TYPE_CHECKING:
    from tfllm.tasks import Task


@dataclasses.dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes:
        source: Name of the format.
        path: The checkpoint.
        family: Family of the model.
        read: Published names of the tensors that were read, sorted.
        left_out: Names in the files that the model has no place for, sorted.
        difference: Largest difference from the forward pass of the library,
            or None.
        comparison: What was compared, or why nothing was.
    """

    source: str
    path: str
    family: Family
    read: list[str]
    left_out: list[str]
    difference: float | None
    comparison: str

    def __str__(self) -> str:
        """Returns the report as lines."""
        lines = [
            f"read: {len(self.read)} tensors of {self.family.title}, from "
            f"{self.path} ({self.source})",
            f"left out: {len(self.left_out) or 'nothing'}",
            *(f"  {name}" for name in self.left_out),
            f"compared: {self.comparison}",
        ]
        return "\n".join(lines)


def to_model_folder(
    path: str,
    folder: str,
    source: str | None = None,
    options: Options | None = None,
    revision: str | None = None,
) -> Report:
    """Converts a checkpoint of another library to a model folder.

    The folder appears once it is whole. The result is loaded before, so that
    a checkpoint that does not fit is refused, and compared with the library
    of the checkpoint where that is installed.

    Args:
        path: Local or remote checkpoint, or a hub id.
        folder: Local or remote folder to write; new or empty.
        source: One of `table.SOURCES`; None: recognized from the files.
        options: What the files do not say.
        revision: Branch, tag or commit of a hub id.

    Raises:
        ValueError: The format is unknown; or the checkpoint is damaged, or
            not supported; or `folder` holds files.
        OSError: `folder` cannot be written.
    """
    with _located(path, source, revision) as place:
        name = source or table.recognize(place)
        with staged_folder(folder) as staged:
            try:
                checkpoint = table.SOURCES[name].read(
                    place, options or Options()
                )
                family, read, left_out = _assemble(checkpoint, staged)
                task = model_folder.load(staged)
            except ValueError as error:
                # The folder of the result has no name yet.
                text = str(error).replace(str(staged), path)
                raise ValueError(text) from error
            if task.tokenizer is not None:
                task.tokenizer.save(str(staged), family.tokenizer)
            model_card.write(str(staged))
            compared = _compare(task, checkpoint.reference)
    return Report(name, path, family, read, left_out, *compared)


@contextlib.contextmanager
def _located(
    path: str, source: str | None, revision: str | None
) -> Iterator[str]:
    """Gives the path of a checkpoint; that of the local copy for a hub id."""
    is_name = source is not None and table.SOURCES[source].is_name
    name = os.path.expanduser(path)
    if is_name or file_access.exists(name) or table.is_prefix(name):
        if revision is not None:
            raise ValueError(
                "`revision` goes with a hub id. Received: "
                f"{revision!r} with '{path}'. Leave it out."
            )
        yield name
        return
    with local_folders.local_folder(path, revision) as local:
        yield str(local)


def _assemble(
    checkpoint: Checkpoint, folder: pathlib.Path
) -> tuple[Family, list[str], list[str]]:
    """Writes a checkpoint as a model folder.

    Returns:
        The family, and the names that were read and left out, sorted.

    Raises:
        ValueError: The config is not supported; no weight is read then.
    """
    text = json.dumps(dict(checkpoint.config), indent=2, sort_keys=True)
    (folder / CONFIG_FILE).write_text(f"{text}\n", encoding="utf-8")
    family, config = read_config(folder)
    if family.fit_tensors is not None:
        config = family.fit_tensors(config, checkpoint.tensors)
    for name, content in checkpoint.extra_files.items():
        (folder / name).write_text(content, encoding="utf-8")
    if checkpoint.write_tokenizer is not None:
        checkpoint.write_tokenizer(folder)
    known = {weight.published for weight in family.weights(config)}
    stored = weights.stored_names(family, config, known, checkpoint.tensors)
    # A copy that differs from its original stays, for the loader to refuse.
    kept = {
        new: name
        for new, name in stored.items()
        if new in known or new in family.tied(config)
    }
    shapes = checkpoint.tensors.shapes()
    tensor_files.write(
        folder,
        {new: shapes[name] for new, name in kept.items()},
        ((new, checkpoint.tensors.read(name)) for new, name in kept.items()),
        folder_writer.MAX_SHARD_BYTES,
    )
    left_out = set(shapes) - set(kept.values())
    return family, sorted(kept), sorted({*left_out, *checkpoint.left_out})


# Ids and mask of the rows that are compared; the second is padded on the right.
_SHAPE = (2, 8)
_PADDED = 3


def _compare(
    task: Task, reference: Reference | None
) -> tuple[float | None, str]:
    """Compares one forward pass with the library of the checkpoint.

    Returns:
        The largest difference or None, and what was compared, or why not.
    """
    if reference is None:
        return None, "nothing: no library reads such a checkpoint"
    try:
        forward = reference.load()
        version = metadata.version(reference.library)
    except (ImportError, metadata.PackageNotFoundError) as error:
        return None, f"nothing, as not all packages are installed: {error}"
    # A library may not read its own older files: the result is whole.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return None, f"nothing: {reference.library} says: {reason[0]}"
    vocab_size = weights.root_of(task).config.vocab_size
    token_ids = np.random.default_rng(0).integers(
        1, vocab_size, _SHAPE, "int32"
    )
    mask = np.ones(_SHAPE, "int32")
    mask[1, -_PADDED:] = 0
    # Padding ids would be masked by libraries that find them by value.
    real = mask.astype(bool)
    ours = forward_here(task, token_ids, mask)
    theirs = np.asarray(forward(token_ids, mask), np.float32)
    difference = float(np.abs(ours[real] - theirs[real]).max())
    largest = float(np.abs(theirs[real]).max())
    kind = "logits" if task.generates else "hidden states"
    return difference, (
        f"{kind} of {int(real.sum())} tokens with {reference.library} "
        f"{version}: largest difference {difference:.1e}, largest value "
        f"{largest:.1f}"
    )


def forward_here(task: Task, token_ids: np.ndarray, mask: np.ndarray) -> Any:
    """Returns logits of a model that generates, or hidden states.

    Args:
        task: The task.
        token_ids: int32 [B, T].
        mask: int32 [B, T].

    Returns:
        float32 [B, T, V or D].
    """
    root = weights.root_of(task)
    if not task.generates:
        return np.asarray(root.transformer(token_ids, padding_mask=mask))
    return np.asarray(root(token_ids, padding_mask=mask)["clm"])
