"""Sources of training examples, loaded unit by unit.

A unit is a prepared shard, or a block of plain text whose examples are built
when it is loaded. Both give the same examples for the same settings.
"""

import os
import threading
from dataclasses import asdict, dataclass
from typing import Protocol

from tqdm import tqdm

from tfllm import file_access
from tfllm.data import prepared_folder
from tfllm.data.fingerprints import file_state
from tfllm.data.masked import shards
from tfllm.data.masked.config import MaskingConfig
from tfllm.data.masked.instances import Examples, InstanceSettings
from tfllm.data.masked.prepare import BlockBuilder
from tfllm.data.masked.readers import Block, Piece, find_blocks
from tfllm.tokenizers.text_tokenizer import Tokenizer


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
    """A source whose units are prepared shards; see `open_shards`."""

    folder: str
    counts: tuple[int, ...]
    has_masks: bool
    vocab_size: int

    def load(self, index: int) -> Examples:
        """Reads a shard.

        Raises:
            ValueError: The shard is missing, damaged, or has other ids.
        """
        path = shards.shard_path(self.folder, index)
        examples = shards.read_shard(path, self.vocab_size)
        if examples.count != self.counts[index]:
            raise ValueError(
                f"A shard must hold the {self.counts[index]} examples that "
                f"the manifest lists. Received: {examples.count} in {path}. "
                "Move it away and run tools.prepare_data again."
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
        folder: Folder that `tools.prepare_data` wrote.
        tokenizer: The tokenizer of the run.
        instances: Settings of the run. `seq_length` and `pair_objective` must
            be those of the shards; the others do not matter any more.
        masking: Must be that of the shards if static masks are used.
        static_masks: Whether to use the masks stored in shards; None: if
            they have masks.

    Raises:
        ValueError: The folder is not finished, or was made for another
            tokenizer, length, objective or masking.
    """
    manifest = shards.read_manifest(folder)
    stored = manifest.settings
    prepared_folder.check_tokenizer(folder, stored, tokenizer)
    for name in ("seq_length", "pair_objective"):
        asked = getattr(instances, name)
        if stored["instances"][name] != asked:
            raise ValueError(
                f"`{name}` must be that of the shards, "
                f"{stored['instances'][name]!r}. Received: {asked!r} for "
                f"{folder}. Change the flag, or prepare the shards again."
            )
    drawn = stored["static_masks"]
    if static_masks and drawn is None:
        raise ValueError(
            "`static_masks` needs shards prepared with --static_masks. "
            f"Received: {folder}, which holds none."
        )
    has_masks = drawn is not None and static_masks is not False
    if has_masks:
        asked_masks = asdict(masking)
        asked_masks["max_predictions"] = masking.num_slots(instances.seq_length)
        if asked_masks != drawn:
            raise ValueError(
                "The masking flags must be those of the static masks in the "
                f"shards, {drawn}. Received: {asked_masks}. Change the "
                "flags, or draw masks anew with --nostatic_masks."
            )
    return ShardSource(folder, manifest.counts, has_masks, tokenizer.vocab_size)


class TextSource:
    """A source whose units are blocks of plain text.

    On creation every block is built once, with a progress bar, to count its
    examples. Counts are kept in `index_dir`, and reused as long as the files
    (size, time) and the settings are the same.

    Args:
        files: Text globs, comma-separated.
        tokenizer: The tokenizer of the run.
        instances: How documents become examples.
        block_bytes: Bytes of text per unit.
        index_dir: Folder for the counts; None: not kept.
        flag: Name of the flag of `files`, for messages.
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
        self._builder = BlockBuilder(tokenizer, instances)
        self._lock = threading.Lock()  # the builder keeps a file open
        paths = file_access.match_files(files, flag)
        index_path = None
        if index_dir is not None:
            key = {
                "files": [file_state(path) for path in paths],
                "instances": asdict(instances),
                "block_bytes": block_bytes,
                "format_version": prepared_folder.FORMAT_VERSION,
                **prepared_folder.tokenizer_settings(tokenizer),
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
        """Builds all blocks; returns their numbers of examples."""
        counts = []
        total = sum(block.num_bytes for block in self._blocks)
        with tqdm(
            total=total, unit="B", unit_scale=True, desc="counting examples"
        ) as progress:
            for index, block in enumerate(self._blocks):
                counts.append(self.load(index).count)
                progress.update(block.num_bytes)
        return tuple(counts)


def _write_index(
    path: str, blocks: list[Block], counts: tuple[int, ...]
) -> None:
    """Saves the index: text blocks and the number of examples in each."""
    pieces = [[[p.path, p.start, p.end] for p in b.pieces] for b in blocks]
    prepared_folder.write_json(path, {"blocks": pieces, "counts": list(counts)})


def _read_index(path: str) -> tuple[list[Block], tuple[int, ...]]:
    """Loads the index that `_write_index` saved."""
    content = prepared_folder.read_json(path)
    blocks = [
        Block(tuple(Piece(*piece) for piece in pieces))
        for pieces in content["blocks"]
    ]
    return blocks, tuple(content["counts"])
