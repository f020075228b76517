"""Text and a vocabulary to prepared shards, in parallel and resumable.

Every block of text is an independent unit of work: its examples are a function
of (seed, block index), so the files are the same for any number of workers,
and a run that was killed continues with the blocks that have no shard yet.
Memory is that of one block per worker.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm import file_access
from tfllm.data.pretraining import prepared_folder, shards, worker_pool
from tfllm.data.pretraining.instances import (
    Examples,
    InstanceSettings,
    StaticMasks,
    Tokenizer,
    assemble,
    build_examples,
    tokenize_documents,
)
from tfllm.data.pretraining.masking import Masker, MaskingConfig
from tfllm.data.pretraining.readers import (
    DEFAULT_BLOCK_BYTES,
    Block,
    BlockReader,
    find_blocks,
)
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

_ROWS = 4096  # rows masked together: bounds the memory of static masks


@dataclass(frozen=True)
class PrepareConfig:
    """A preparation run.

    Args:
        input_files: text globs, comma-separated.
        tokenizer: vocabulary file or tokenizer folder.
        output_dir: folder for the shards.
        instances: how documents become examples.
        masking: how static masks are drawn.
        static_masks: draw the masks now instead of anew in each epoch.
        block_bytes: text per shard.
        workers: processes.
        overwrite: delete shards made with other settings.
    """

    input_files: str
    tokenizer: str
    output_dir: str
    instances: InstanceSettings = field(default_factory=InstanceSettings)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    static_masks: bool = False
    block_bytes: int = DEFAULT_BLOCK_BYTES
    workers: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.workers < 1:
            raise ValueError(
                f"`workers` must be at least 1. Received: {self.workers}."
            )
        self.masking.num_slots(self.instances.seq_length)


class BlockBuilder:
    """Turns blocks into examples.

    Args:
        tokenizer: any in-graph tokenizer.
        settings: how documents become examples.
        static_masks: how to draw static masks; None for none.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        settings: InstanceSettings,
        static_masks: MaskingConfig | None = None,
    ) -> None:
        """Opens nothing yet."""
        self._tokenizer = tokenizer
        self._settings = settings
        self._masks = static_masks
        self._reader = BlockReader()

    def build(self, block: Block, index: int) -> Examples:
        """Builds the examples of a block.

        Args:
            block: one of `find_blocks`.
            index: its place in that list.

        Returns:
            Its examples, shuffled.
        """
        documents = self._reader.read(block)
        tokens = tokenize_documents(documents, self._tokenizer)
        examples = build_examples(*tokens, self._settings, index)
        if self._masks is None or not examples.count:
            return examples
        masks = draw_static_masks(
            examples, index, self._masks, self._settings, self._tokenizer
        )
        return dataclasses.replace(examples, masks=masks)


def example_ids(unit: int, rows: np.ndarray) -> np.ndarray:
    """Ids of examples that no other unit uses.

    Args:
        unit: index of the block or shard.
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
    """Draws the masks of epoch 0 for all examples of a block."""
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
            tokenizer,
            settings.pair_objective != "none",
        )
        ids = example_ids(unit, np.arange(start, start + len(spans)))
        masked = masker(rows, totals, tf.constant(ids))
        put = tf.gather(masked.token_ids, masked.positions, batch_dims=1)
        counts = tf.reduce_sum(tf.cast(masked.weights, tf.int32), axis=1)
        parts.append([t.numpy() for t in (masked.positions, counts, put)])
    positions, counts, put = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return StaticMasks(positions, counts, put)


def _settings(
    config: PrepareConfig, tokenizer: Tokenizer, blocks: list[Block]
) -> dict[str, Any]:
    masking = None
    if config.static_masks:
        masking = dataclasses.asdict(config.masking)
        masking["max_predictions"] = config.masking.num_slots(
            config.instances.seq_length
        )
    return {
        "format_version": prepared_folder.FORMAT_VERSION,
        "task": shards.TASK,
        "instances": dataclasses.asdict(config.instances),
        "static_masks": masking,
        "block_bytes": config.block_bytes,
        "num_shards": len(blocks),
        "sources": prepared_folder.describe_sources(
            [piece.path for block in blocks for piece in block.pieces]
        ),
        "vocab_size": tokenizer.vocab_size,
        "vocab_hash": tokenizer.vocab_hash(),
    }


def prepare(config: PrepareConfig) -> shards.Manifest:
    """Prepares shards; continues a run that was stopped.

    Args:
        config: what to prepare.

    Returns:
        The manifest of the finished folder.

    Raises:
        ValueError: bad input, or the folder holds shards made with other
            settings.
        OSError: a file cannot be written, or a worker died.
    """
    tokenizer = WordPieceTokenizer.from_file(config.tokenizer)
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
            _work,
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
    """Counts of the shards that are there."""
    counts = {}
    for index in range(num_shards):
        path = shards.shard_path(folder, index)
        if not file_access.exists(path):
            continue
        try:
            counts[index] = shards.read_shard(path, vocab_size).count
        except ValueError:
            file_access.remove(path)  # damaged: made again
    return counts


# The state of a worker process.
_worker: tuple[PrepareConfig, BlockBuilder, int] | None = None


def _start_worker(config: PrepareConfig) -> None:
    global _worker
    tokenizer = WordPieceTokenizer.from_file(config.tokenizer)
    masking = config.masking if config.static_masks else None
    builder = BlockBuilder(tokenizer, config.instances, masking)
    _worker = (config, builder, tokenizer.vocab_size)


def _work(index: int, block: Block) -> tuple[int, int]:
    assert _worker is not None
    config, builder, vocab_size = _worker
    examples = builder.build(block, index)
    path = shards.shard_path(config.output_dir, index)
    shards.write_shard(path, examples, vocab_size)
    return index, examples.count
