"""Examples to batches: shuffled, masked, deterministic, seekable.

The order is a function of (seed, epoch, step), see `epochs`; masks are keyed by
(seed, epoch, example). So a batch is the same whether a run reached it or was
resumed at it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.batched_data import BatchedData, finish, num_batches
from tfllm.data.epochs import Epochs
from tfllm.data.pretraining import prepared_folder
from tfllm.data.pretraining.instances import (
    Examples,
    InstanceSettings,
    Tokenizer,
    assemble,
)
from tfllm.data.pretraining.masking import Masked, Masker, MaskingConfig
from tfllm.data.pretraining.prepare import example_ids
from tfllm.data.pretraining.readers import DEFAULT_BLOCK_BYTES
from tfllm.data.pretraining.sources import TextSource, UnitSource, open_shards

Batch = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]

_SLICE = 1024  # rows laid out at a time
_EVALUATION_EPOCH = 0  # whose masks an evaluation uses


@dataclass(frozen=True)
class DataConfig:
    """How examples become batches.

    Args:
        seq_length: tokens per row, T.
        batch_size: rows per global batch, B.
        pair_objective: "nsp", "sop" or "none".
        masking: what is masked.
        static_masks: use masks that lie in the shards; None: if they do;
            False: draw them anew in each epoch.
        seed: seed of order and masks, and of examples built from text.
        dupe_factor: passes over the text in one epoch (text only: shards
            have theirs).
        short_seq_prob: share of short examples (text only).
        block_bytes: text per unit (text only).
        units_per_group: units loaded and shuffled together.
    """

    seq_length: int = 128
    batch_size: int = 32
    pair_objective: str = "nsp"
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    static_masks: bool | None = None
    seed: int = 0
    dupe_factor: int = 10
    short_seq_prob: float = 0.1
    block_bytes: int = DEFAULT_BLOCK_BYTES
    units_per_group: int = 8

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("batch_size", "units_per_group"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. "
                    f"Received: {getattr(self, name)}."
                )
        self.masking.num_slots(self.instances.seq_length)

    @property
    def instances(self) -> InstanceSettings:
        """The settings of examples built from text."""
        return InstanceSettings(
            seq_length=self.seq_length,
            pair_objective=self.pair_objective,
            short_seq_prob=self.short_seq_prob,
            dupe_factor=self.dupe_factor,
            seed=self.seed,
        )


def open_training_data(
    files: str,
    tokenizer: Tokenizer,
    config: DataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> "TrainingData":
    """Opens prepared shards or plain text.

    Args:
        files: a folder that `tools.prepare_data` wrote, or text globs,
            comma-separated.
        tokenizer: the tokenizer of the run.
        config: how examples become batches.
        index_dir: where counts of text files are kept between runs.
        flag: name of the flag of `files`, for messages.

    Returns:
        The data.

    Raises:
        ValueError: files are missing, empty or binary, or shards do not fit
            the tokenizer or the settings.
    """
    source: UnitSource
    if prepared_folder.is_prepared(files):
        source = open_shards(
            files,
            tokenizer,
            config.instances,
            config.masking,
            config.static_masks,
        )
    else:
        if config.static_masks:
            raise ValueError(
                "`static_masks` needs prepared shards. Received: text files "
                f"in `{flag}`, {files}. Run tools.prepare_data "
                "--static_masks first."
            )
        source = TextSource(
            files,
            tokenizer,
            config.instances,
            config.block_bytes,
            index_dir,
            flag,
        )
    if not sum(source.counts):
        raise ValueError(
            f"`{flag}` must hold at least one example. Received: only blank "
            f"text in {files}."
        )
    return TrainingData(source, tokenizer, config)


class TrainingData(BatchedData):
    """Batches of masked examples.

    A batch is (x, y, sample_weight), each a flat dict:
        x: token_ids, segment_ids, padding_mask int32 [B, T];
           masked_positions int32 [B, P]
        y: mlm int32 [B, P]; nsp int32 [B] for pairs
        sample_weight: mlm float32 [B, P]; nsp float32 [B] for pairs

    Damage found while iterating (a shard, a text file that changed) surfaces
    as `tf.errors.InvalidArgumentError` whose text holds the ValueError.

    Args:
        source: units of examples.
        tokenizer: the tokenizer of the run.
        config: how examples become batches.
    """

    def __init__(
        self, source: UnitSource, tokenizer: Tokenizer, config: DataConfig
    ) -> None:
        """Reads nothing yet."""
        self._source = source
        self._tokenizer = tokenizer
        self._config = config
        self._paired = config.pair_objective != "none"
        self._epochs = Epochs(
            source.counts,
            config.batch_size,
            config.seed,
            config.units_per_group,
        )
        super().__init__(self._epochs)

    @property
    def num_slots(self) -> int:
        """Masked slots per row, P."""
        return self._config.masking.num_slots(self._config.seq_length)

    def _training_batches(self, start_step: int) -> tf.data.Dataset:
        """See the base class."""
        groups = self._from_generator(lambda: self._training_groups(start_step))
        return self._batches(groups, self._config.batch_size, True)

    def evaluation_dataset(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> tf.data.Dataset:
        """See the base class; in order, with masks that never change.

        The last batch is filled up with copies of its last row.
        """
        size = batch_size or self._config.batch_size
        steps = num_batches(self.num_examples, size, max_steps)
        groups = self._from_generator(self._evaluation_groups)
        batches = self._batches(groups, size, False).take(steps)
        return finish(batches, steps)

    def _training_groups(
        self, start_step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields groups of examples in training order, without end."""
        for group in self._epochs.groups(start_step):
            yield self._load(*group)

    def _evaluation_groups(self) -> Iterator[dict[str, np.ndarray]]:
        for unit, count in enumerate(self._epochs.counts):
            if count:
                yield self._load(
                    np.array([unit]), np.arange(count), _EVALUATION_EPOCH
                )

    def _load(
        self, units: np.ndarray, rows: np.ndarray, epoch: int
    ) -> dict[str, np.ndarray]:
        """Loads units as one table and takes rows of it."""
        loaded = [self._source.load(int(unit)) for unit in units]
        sizes = [len(examples.token_ids) for examples in loaded]
        shifts = np.cumsum([0, *sizes[:-1]])
        spans = [
            examples.spans + np.int32(shift)
            for examples, shift in zip(loaded, shifts, strict=True)
        ]
        ids = [
            example_ids(int(unit), np.arange(examples.count))
            for unit, examples in zip(units, loaded, strict=True)
        ]
        table = {
            "token_ids": np.concatenate([e.token_ids for e in loaded]),
            "spans": np.concatenate(spans)[rows],
            "labels": np.concatenate([e.labels for e in loaded])[rows],
            "ids": np.concatenate(ids)[rows],
            "epochs": np.full(len(rows), epoch, np.int64),
        }
        if self._source.has_masks:
            table.update(_static_columns(loaded, rows))
        return table

    def _from_generator(self, generate: Any) -> tf.data.Dataset:
        def rows(dtype: tf.DType, *shape: int) -> tf.TensorSpec:
            return tf.TensorSpec([None, *shape], dtype)

        signature = {
            "token_ids": rows(tf.int32),
            "spans": rows(tf.int32, 4),
            "labels": rows(tf.int32),
            "ids": rows(tf.int64),
            "epochs": rows(tf.int64),
        }
        if self._source.has_masks:
            signature["mask_positions"] = rows(tf.int32, self.num_slots)
            signature["mask_counts"] = rows(tf.int32)
            signature["mask_ids"] = rows(tf.int32, self.num_slots)
        groups = tf.data.Dataset.from_generator(
            generate, output_signature=signature
        )
        return groups.prefetch(1)  # the next group loads meanwhile

    def _batches(
        self, groups: tf.data.Dataset, size: int, drop_remainder: bool
    ) -> tf.data.Dataset:
        masker = Masker(
            self._config.masking,
            self._tokenizer,
            self._config.seq_length,
            self._config.seed,
        )

        def to_batch(table: dict[str, tf.Tensor]) -> Batch:
            return self._to_batch(table, masker, size)

        # Rows are laid out in slices of one group, and only then cut into
        # batches, which may lie across two groups.
        rows = groups.flat_map(self._to_rows)
        rows = rows.rebatch(size, drop_remainder=drop_remainder)
        return rows.map(
            to_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def _to_rows(self, table: dict[str, tf.Tensor]) -> tf.data.Dataset:
        table = dict(table)
        token_ids = table.pop("token_ids")
        count = tf.shape(table["spans"], tf.int64)[0]

        def lay_out(start: tf.Tensor) -> dict[str, tf.Tensor]:
            part = {k: v[start : start + _SLICE] for k, v in table.items()}
            part["rows"], part["firsts"], part["totals"] = assemble(
                token_ids,
                part.pop("spans"),
                self._config.seq_length,
                self._tokenizer,
                self._paired,
            )
            return part

        return tf.data.Dataset.range(0, count, _SLICE).map(lay_out)

    def _to_batch(
        self, table: dict[str, tf.Tensor], masker: Masker, size: int
    ) -> Batch:
        """Masks rows; fills them up to `size` rows of weight zero."""
        found = tf.shape(table["rows"])[0]
        row = tf.range(size)
        table = {
            k: tf.gather(v, tf.minimum(row, found - 1))
            for k, v in table.items()
        }
        real = tf.cast(row < found, tf.float32)
        if self._source.has_masks:
            masked = _put_static_masks(table)
        else:
            masked = masker(
                table["rows"], table["totals"], table["ids"], table["epochs"]
            )
        column = tf.range(self._config.seq_length)[tf.newaxis]
        inside = column < table["totals"][:, tf.newaxis]
        second = inside & (column >= table["firsts"][:, tf.newaxis])
        x = {
            "token_ids": masked.token_ids,
            "segment_ids": tf.cast(second, tf.int32),
            "padding_mask": tf.cast(inside, tf.int32),
            "masked_positions": masked.positions,
        }
        y = {"mlm": masked.labels}
        weights = {"mlm": masked.weights * real[:, tf.newaxis]}
        if self._paired:
            y["nsp"] = table["labels"]
            weights["nsp"] = real
        return x, y, weights


def _static_columns(
    loaded: list[Examples], rows: np.ndarray
) -> dict[str, np.ndarray]:
    masks = [e.masks for e in loaded if e.masks is not None]
    return {
        "mask_positions": np.concatenate([m.positions for m in masks])[rows],
        "mask_counts": np.concatenate([m.counts for m in masks])[rows],
        "mask_ids": np.concatenate([m.ids for m in masks])[rows],
    }


def _put_static_masks(table: dict[str, tf.Tensor]) -> Masked:
    rows, positions = table["rows"], table["mask_positions"]
    used = tf.sequence_mask(table["mask_counts"], positions.shape[1])
    labels = tf.gather(rows, positions, batch_dims=1)
    # Unused slots write [CLS] where it already stands.
    number = tf.range(tf.shape(rows)[0])[:, tf.newaxis]
    number = tf.broadcast_to(number, tf.shape(positions))
    where = tf.stack([number, positions], axis=-1)  # [B, P, 2]
    return Masked(
        token_ids=tf.tensor_scatter_nd_update(rows, where, table["mask_ids"]),
        positions=positions,
        labels=tf.where(used, labels, 0),
        weights=tf.cast(used, tf.float32),
    )
