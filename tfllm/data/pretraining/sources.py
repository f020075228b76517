"""Where the examples of a training run come from, unit by unit.

A unit is a prepared shard, or a block of plain text that is tokenized and
built on the way. Both give the same examples for the same settings.
"""

import os
import threading
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import tensorflow as tf
from tqdm import tqdm

from tfllm import file_access
from tfllm.data.pretraining import prepared_folder, shards
from tfllm.data.pretraining.instances import (
    Examples,
    InstanceSettings,
    Tokenizer,
)
from tfllm.data.pretraining.masking import MaskingConfig
from tfllm.data.pretraining.prepare import BlockBuilder
from tfllm.data.pretraining.readers import Block, Piece, find_blocks


class UnitSource(Protocol):
    """Examples in units that can be loaded in any order."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Examples per unit."""

    @property
    def has_masks(self) -> bool:
        """Whether units hold static masks."""

    def load(self, index: int) -> Examples:
        """Loads one unit."""


@dataclass(frozen=True)
class ShardSource:
    """Units are prepared shards; made by `open_shards`."""

    folder: str
    counts: tuple[int, ...]
    has_masks: bool
    vocab_size: int

    def load(self, index: int) -> Examples:
        """Reads a shard.

        Raises:
            ValueError: the shard is missing, damaged, or holds other ids.
        """
        path = shards.shard_path(self.folder, index)
        examples = shards.read_shard(path, self.vocab_size)
        if examples.count != self.counts[index]:
            raise ValueError(
                f"A shard must hold the {self.counts[index]} examples that "
                f"the manifest lists. Received: {examples.count} in {path}. "
                "Delete it and run tools.prepare_data again."
            )
        return examples


def open_shards(
    folder: str,
    tokenizer: Tokenizer,
    instances: InstanceSettings,
    masking: MaskingConfig,
    static_masks: bool | None,
) -> ShardSource:
    """Opens a folder of prepared shards.

    Args:
        folder: what `tools.prepare_data` wrote.
        tokenizer: the tokenizer of the run.
        instances: only `seq_length` and `pair_objective` are compared: the
            others were decided when the shards were made.
        masking: compared if static masks are used.
        static_masks: use masks that lie in the shards; None: if they do.

    Returns:
        The source.

    Raises:
        ValueError: the folder is not finished, or was made for another
            vocabulary, length, objective or masking.
    """
    manifest = shards.read_manifest(folder)
    made = manifest.settings
    prepared_folder.check_vocabulary(
        folder, made, tokenizer.vocab_size, tokenizer.vocab_hash()
    )
    for name in ("seq_length", "pair_objective"):
        wanted = getattr(instances, name)
        if made["instances"][name] != wanted:
            raise ValueError(
                f"`{name}` must be that of the shards, "
                f"{made['instances'][name]!r}. Received: {wanted!r} for "
                f"{folder}. Change the flag, or prepare the shards again."
            )
    drawn = made["static_masks"]
    if static_masks and drawn is None:
        raise ValueError(
            "`static_masks` needs shards prepared with --static_masks. "
            f"Received: {folder}, which holds none."
        )
    has_masks = drawn is not None and static_masks is not False
    if has_masks:
        wanted_masks = asdict(masking)
        wanted_masks["max_predictions"] = masking.num_slots(
            instances.seq_length
        )
        if wanted_masks != drawn:
            raise ValueError(
                "The masking flags must be those of the static masks in the "
                f"shards, {drawn}. Received: {wanted_masks}. Change the "
                "flags, or draw masks anew with --nostatic_masks."
            )
    return ShardSource(folder, manifest.counts, has_masks, tokenizer.vocab_size)


class TextSource:
    """Units are blocks of plain text; nothing is prepared.

    Opening it builds every block once, to count its examples, with a progress
    bar; the counts are kept in `index_dir` and found again while the files
    (size, time) and the settings are the same.

    Args:
        files: text globs, comma-separated.
        tokenizer: the tokenizer of the run.
        instances: how documents become examples.
        block_bytes: text per unit.
        index_dir: folder for the counts; None: not kept.
        flag: name of the flag of `files`, for messages.
    """

    has_masks = False
    counts: tuple[int, ...]

    def __init__(
        self,
        files: str,
        tokenizer: Tokenizer,
        instances: InstanceSettings,
        block_bytes: int,
        index_dir: str | None = None,
        flag: str = "train_files",
    ) -> None:
        """Finds the blocks and counts their examples."""
        self._builder = BlockBuilder(tokenizer, instances)
        self._lock = threading.Lock()  # the builder keeps a file open
        paths = file_access.match_files(files, flag)
        index_path = None
        if index_dir is not None:
            key = {
                "files": [file_state(path) for path in paths],
                "instances": asdict(instances),
                "block_bytes": block_bytes,
                "vocab_hash": tokenizer.vocab_hash(),
                "format_version": prepared_folder.FORMAT_VERSION,
            }
            name = f"text-index-{prepared_folder.settings_key(key)}.json"
            index_path = os.path.join(index_dir, name)
            if file_access.exists(index_path):
                self._blocks, self.counts = _read_index(index_path)
                return
        self._blocks = find_blocks(paths, block_bytes, flag)
        self.counts = self._count()
        if index_dir is not None and index_path is not None:
            file_access.make_folder(index_dir)
            _write_index(index_path, self._blocks, self.counts)

    def load(self, index: int) -> Examples:
        """Reads, tokenizes and builds a block."""
        with self._lock:
            return self._builder.build(self._blocks[index], index)

    def _count(self) -> tuple[int, ...]:
        counts = []
        total = sum(block.num_bytes for block in self._blocks)
        with tqdm(
            total=total, unit="B", unit_scale=True, desc="counting examples"
        ) as progress:
            for index, block in enumerate(self._blocks):
                counts.append(self.load(index).count)
                progress.update(block.num_bytes)
        return tuple(counts)


def file_state(path: str) -> list[Any]:
    """What changes when a file does."""
    state = tf.io.gfile.stat(path)
    return [path, state.length, state.mtime_nsec]


def _write_index(
    path: str, blocks: list[Block], counts: tuple[int, ...]
) -> None:
    pieces = [[[p.path, p.start, p.end] for p in b.pieces] for b in blocks]
    prepared_folder.write_json(path, {"blocks": pieces, "counts": list(counts)})


def _read_index(path: str) -> tuple[list[Block], tuple[int, ...]]:
    content = prepared_folder.read_json(path)
    blocks = [
        Block(tuple(Piece(*piece) for piece in pieces))
        for pieces in content["blocks"]
    ]
    return blocks, tuple(content["counts"])
