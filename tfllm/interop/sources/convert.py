"""Converts a checkpoint of another library to a model folder."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from tfllm import file_access
from tfllm.interop import (
    folder_tensors,
    folder_writer,
    hub,
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
from tfllm.models import Family, TransformerConfig

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
            compared = _compare(task, checkpoint.reference, staged)
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
    hub_id, named = hub.split_revision(path)
    if parts := hub.split_gguf(hub_id):
        yield str(hub.fetch_gguf(*parts, named or revision))
        return
    if source == "gguf" and hub.may_be_hub_id(hub_id):
        yield str(hub.fetch_gguf(hub_id, None, named or revision))
        return
    with local_folders.local_folder(path, revision) as local:
        is_bare = source is None and not folder_tensors.has_tensors(local)
        if is_bare and hub.gguf_files(hub_id, named or revision):
            yield str(hub.fetch_gguf(hub_id, None, named or revision))
        else:
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
    kind = _architecture(family, checkpoint.config)
    files = {family.name_in_files(n, kind): name for n, name in kept.items()}
    # As in folders that are saved here.
    computed = {
        family.name_in_files(name, kind): tensor
        for name, tensor in (family.computed or _nothing)(config).items()
    }
    tensor_files.write(
        folder,
        {new: shapes[name] for new, name in files.items()}
        | {name: tensor.shape for name, tensor in computed.items()},
        itertools.chain(
            ((new, checkpoint.tensors.read(n)) for new, n in files.items()),
            computed.items(),
        ),
        folder_writer.MAX_SHARD_BYTES,
    )
    left_out = set(shapes) - set(kept.values()) - set(computed)
    return family, sorted(files), sorted({*left_out, *checkpoint.left_out})


def _nothing(config: TransformerConfig) -> Mapping[str, np.ndarray]:
    """Computes no tensors."""
    return {}


def _architecture(family: Family, config: Mapping[str, Any]) -> str:
    """Returns the key of `Family.architectures` that a config names, or ""."""
    named = config.get("architectures") or []
    keys = [k for k, name in family.architectures.items() if [name] == named]
    return keys[0] if keys else ""


# Ids and mask of the rows that are compared; the second is padded on the right.
_SHAPE = (2, 8)
_PADDED = 3


def _compare(
    task: Task, reference: Reference | None, folder: pathlib.Path
) -> tuple[float | None, str]:
    """Compares one forward pass with that of another library.

    Args:
        task: The result.
        reference: The same model there, or None.
        folder: Folder of the result.

    Returns:
        The largest difference or None, and what was compared, or why not.
    """
    if reference is None:
        return None, "nothing: no library reads such a checkpoint"
    config = weights.root_of(task).config
    rows = min(stack.embeddings.vocab_size for stack in config.stacks)
    mask = np.ones(_SHAPE, "int32")
    mask[1, -_PADDED:] = 0
    # Some libraries find padding by its id.
    pad = config.pad_token_id or 0
    ids = np.setdiff1d(np.arange(1, rows), [pad])
    token_ids = np.random.default_rng(0).choice(ids, _SHAPE)
    token_ids = np.where(mask == 1, token_ids, pad).astype("int32")
    try:
        forward = reference.load(folder, _head_of(task))
        version = metadata.version(reference.library)
        theirs = np.asarray(forward(token_ids, mask), np.float32)
    except (ImportError, metadata.PackageNotFoundError) as error:
        return None, (
            f"nothing, as not all packages are installed: {error}. "
            f"`pip install {reference.library}` and convert again to compare"
        )
    # A library may not read its own older files: the result is whole.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return None, f"nothing: {reference.library} says: {reason[0]}"
    ours = forward_here(task, token_ids, mask)
    if theirs.shape != ours.shape:
        return None, (
            f"nothing: {reference.library} gives outputs of shape "
            f"{theirs.shape}, not {ours.shape}"
        )
    real = mask.astype(bool)
    difference = float(np.abs(ours[real] - theirs[real]).max())
    largest = float(np.abs(theirs[real]).max())
    kind = "logits" if task.generates else "hidden states"
    read = ", which read the result" if reference.reads_result else ""
    return difference, (
        f"{kind} of {int(real.sum())} tokens with {reference.library} "
        f"{version}{read}: largest difference {difference:.1e}, largest value "
        f"{largest:.1f}"
    )


def _head_of(task: Task) -> str:
    """Returns the second argument of `Reference.load` for a task."""
    is_pair = weights.root_of(task).config.kind == "encoder_decoder"
    if task.generates:
        return "seq2seq_lm" if is_pair else "causal_lm"
    return "encoder_decoder" if is_pair else "encoder"


def forward_here(task: Task, token_ids: np.ndarray, mask: np.ndarray) -> Any:
    """Returns logits of a model that generates, or hidden states.

    Args:
        task: The task. An encoder-decoder reads the tokens on both sides.
        token_ids: int32 [B, T].
        mask: int32 [B, T].

    Returns:
        float32 [B, T, V or D].
    """
    root = weights.root_of(task)
    inputs = {"padding_mask": mask}
    if root.config.kind == "encoder_decoder":
        inputs |= {"source_ids": token_ids, "source_mask": mask}
    if not task.generates:
        return np.asarray(root.transformer(token_ids, **inputs))
    return np.asarray(root(token_ids, **inputs)["clm"])
