"""Prepares shards from text and a tokenizer, in parallel and resumable.

Every block of text is an independent unit of work: its examples are a function
of (seed, block index). So shards are the same for any number of workers, and a
run that was killed continues with the missing shards. Memory is that of one
block per worker.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm import file_access
from tfllm.data import prepared_folder, worker_pool
from tfllm.data.masked import shards
from tfllm.data.masked.config import (
    TASK,
    InstanceSettings,
    MaskingConfig,
    PrepareConfig,
)
from tfllm.data.masked.instances import (
    Examples,
    StaticMasks,
    assemble,
    build_examples,
    tokenize_documents,
)
from tfllm.data.masked.masking import Masker
from tfllm.data.masked.readers import Block, BlockReader, find_blocks
from tfllm.tokenizers import Tokenizer, load_tokenizer

_ROWS = 4096  # rows masked at a time, which bounds the memory


class BlockBuilder:
    """Turns blocks into examples.

    Args:
        tokenizer: The tokenizer.
        settings: How documents become examples.
        static_masks: Settings of static masks; None for no masks.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        settings: InstanceSettings,
        static_masks: MaskingConfig | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._masks = static_masks
        self._reader = BlockReader()

    def build(self, block: Block, index: int) -> Examples:
        """Builds the examples of a block, shuffled.

        Args:
            block: One of `find_blocks`.
            index: Its place in that list.
        """
        documents = self._reader.read(block)
        tokens = tokenize_documents(documents, self._tokenizer)
        template = self._tokenizer.row_template
        paired = self._settings.pair_objective != "none"
        limit = self._settings.seq_length - template.num_special(1 + paired)
        examples = build_examples(*tokens, self._settings, limit, index)
        if self._masks is None or not examples.count:
            return examples
        masks = draw_static_masks(
            examples, index, self._masks, self._settings, self._tokenizer
        )
        return dataclasses.replace(examples, masks=masks)


def example_ids(unit: int, rows: np.ndarray) -> np.ndarray:
    """Returns ids of examples, different for each unit.

    Args:
        unit: Index of the block or shard.
        rows: int [N], rows in it.

    Returns:
        int64 [N].
    """
    return (np.int64(unit) << np.int64(32)) | rows.astype(np.int64)


def draw_static_masks(
    examples: Examples,
    unit: int,
    config: MaskingConfig,
    settings: InstanceSettings,
    tokenizer: Tokenizer,
) -> StaticMasks:
    """Draws the masks of epoch 0 for the examples of a block."""
    width = settings.seq_length
    masker = Masker(config, tokenizer, width, settings.seed)
    token_ids = tf.constant(examples.token_ids)
    parts = []
    for start in range(0, examples.count, _ROWS):
        spans = examples.spans[start : start + _ROWS]
        rows, _, totals = assemble(
            token_ids,
            tf.constant(spans),
            width,
            tokenizer.row_template,
            settings.pair_objective != "none",
        )
        ids = example_ids(unit, np.arange(start, start + len(spans)))
        masked = masker(rows, totals, tf.constant(ids))
        written = tf.gather(masked.token_ids, masked.positions, batch_dims=1)
        counts = tf.reduce_sum(tf.cast(masked.weights, tf.int32), axis=1)
        parts.append([t.numpy() for t in (masked.positions, counts, written)])
    positions, counts, written = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return StaticMasks(positions, counts, written)


def _settings(
    config: PrepareConfig, tokenizer: Tokenizer, blocks: list[Block]
) -> dict[str, Any]:
    """Returns the settings of shards, as their folder records them."""
    masking = None
    if config.static_masks:
        masking = dataclasses.asdict(config.masking)
        masking["max_predictions"] = config.masking.num_slots(
            config.instances.seq_length
        )
    return {
        "format_version": prepared_folder.FORMAT_VERSION,
        "task": TASK,
        "instances": dataclasses.asdict(config.instances),
        "static_masks": masking,
        "block_bytes": config.block_bytes,
        "num_shards": len(blocks),
        "sources": prepared_folder.describe_sources(
            [piece.path for block in blocks for piece in block.pieces]
        ),
        **prepared_folder.tokenizer_settings(tokenizer),
    }


def prepare(config: PrepareConfig) -> shards.Manifest:
    """Prepares shards; continues an unfinished folder.

    Args:
        config: Files, tokenizer, output folder and settings.

    Returns:
        The manifest of the finished folder.

    Raises:
        ValueError: The input is bad, or the folder has shards made with
            other settings.
        OSError: A file cannot be written, or a worker died.
    """
    tokenizer = load_tokenizer(
        config.tokenizer, spec=config.spec, lowercase=config.lower_case
    )
    tokenizer.role_id("mask")
    # Fixed for the workers.
    config = dataclasses.replace(config, lower_case=tokenizer.lowercase)
    blocks = find_blocks(config.input_files, config.block_bytes)
    settings = _settings(config, tokenizer, blocks)
    counts: dict[int, int] = {}
    if prepared_folder.begin(config.output_dir, settings, config.overwrite):
        counts = _finished_shards(
            config.output_dir, len(blocks), tokenizer.vocab_size
        )
    todo = [i for i in range(len(blocks)) if i not in counts]
    progress = tqdm(
        total=sum(block.num_bytes for block in blocks),
        initial=sum(blocks[i].num_bytes for i in counts),
        unit="B",
        unit_scale=True,
        desc="preparing",
    )
    with progress:
        for index, count in worker_pool.run(
            _write_block,
            [(index, blocks[index]) for index in todo],
            min(config.workers, len(todo)),
            _start_worker,
            (config,),
        ):
            counts[index] = count
            progress.update(blocks[index].num_bytes)
            progress.set_postfix(examples=sum(counts.values()), refresh=False)
    if not sum(counts.values()):
        raise ValueError(
            "`input_files` must hold at least one document. Received: only "
            f"blank text in {config.input_files}."
        )
    shards.write_manifest(
        config.output_dir, settings, [counts[i] for i in range(len(blocks))]
    )
    return shards.read_manifest(config.output_dir)


def _finished_shards(
    folder: str, num_shards: int, vocab_size: int
) -> dict[int, int]:
    """Returns the number of examples of each finished shard."""
    counts = {}
    for index in range(num_shards):
        path = shards.shard_path(folder, index)
        if not file_access.exists(path):
            continue
        try:
            counts[index] = shards.read_shard(path, vocab_size).count
        except ValueError:
            file_access.remove(path)  # damaged: will be made again
    return counts


# The state of a worker process.
_worker: tuple[PrepareConfig, BlockBuilder, int] | None = None


def _start_worker(config: PrepareConfig) -> None:
    """Loads the tokenizer of this process."""
    global _worker
    tokenizer = load_tokenizer(
        config.tokenizer, spec=config.spec, lowercase=config.lower_case
    )
    masking = config.masking if config.static_masks else None
    builder = BlockBuilder(tokenizer, config.instances, masking)
    _worker = (config, builder, tokenizer.vocab_size)


def _write_block(index: int, block: Block) -> tuple[int, int]:
    """Writes the shard of a block; returns its index and example count."""
    assert _worker is not None
    config, builder, vocab_size = _worker
    examples = builder.build(block, index)
    path = shards.shard_path(config.output_dir, index)
    shards.write_shard(path, examples, vocab_size)
    return index, examples.count
