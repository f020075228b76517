"""Examples to batches: shuffled, masked, deterministic, seekable.

The order is a function of (seed, epoch, step), see `epochs`; masks are a
function of (seed, epoch, example). So batches do not depend on where a run was
resumed.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import tensorflow as tf

from tfllm.data import prepared_folder
from tfllm.data.batched_data import BatchedData, finish, num_batches
from tfllm.data.epochs import Epochs
from tfllm.data.masked.config import MaskedDataConfig
from tfllm.data.masked.instances import Examples, assemble
from tfllm.data.masked.masking import Masked, Masker
from tfllm.data.masked.prepare import example_ids
from tfllm.data.masked.sources import TextSource, UnitSource, open_shards
from tfllm.tokenizers.text_tokenizer import Tokenizer

Batch = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]

_SLICE = 1024  # rows assembled at a time
_EVALUATION_EPOCH = 0  # epoch of the masks in evaluations


def open_masked_data(
    files: str,
    tokenizer: Tokenizer,
    config: MaskedDataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> "MaskedData":
    """Opens prepared shards or plain text.

    Args:
        files: Folder of prepared shards, or text globs, comma-separated.
        tokenizer: The tokenizer of the run.
        config: How examples become batches.
        index_dir: Folder that keeps the counts of text files between runs.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: Files are missing, empty or binary, or shards do not fit
            the tokenizer or the settings.
    """
    source = open_source(files, tokenizer, config, index_dir, flag)
    return MaskedData(source, tokenizer, config)


def open_source(
    files: str,
    tokenizer: Tokenizer,
    config: MaskedDataConfig,
    index_dir: str | None,
    flag: str,
) -> UnitSource:
    """Opens units of examples; see `open_masked_data`."""
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
    return source


class MaskedData(BatchedData):
    """Batches of masked examples.

    A batch is (x, y, sample_weight), each a flat dict:
        x: token_ids, segment_ids, padding_mask int32 [B, T];
           masked_positions int32 [B, P]
        y: mlm int32 [B, P]; nsp int32 [B] for pairs
        sample_weight: mlm float32 [B, P]; nsp float32 [B] for pairs
    and `with_originals`
        x: choices int32 [B, T], at masks uniform from 0 to 2 ** 24 - 1,
           elsewhere -1
        y: rtd int32 [B, T], the tokens before masking
        sample_weight: rtd float32 [B, T], 1 for real tokens

    A damaged shard or a changed text file raises
    `tf.errors.InvalidArgumentError` while iterating; its text includes the
    ValueError.

    Args:
        source: Units of examples.
        tokenizer: The tokenizer of the run.
        config: How examples become batches.
    """

    is_labelled: Literal[False] = False

    def __init__(
        self, source: UnitSource, tokenizer: Tokenizer, config: MaskedDataConfig
    ) -> None:
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
        """Returns masked batches in training order; see `BatchedData`."""
        groups = self._from_generator(lambda: self._training_groups(start_step))
        return self._batches(groups, self._config.batch_size, True)

    def evaluation_dataset(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> tf.data.Dataset:
        """Returns all rows once, in order, with fixed masks.

        The last batch is filled up with copies of its last row, of weight
        zero.
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
            yield self._load_rows(*group)

    def _evaluation_groups(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields the examples of each unit, in order."""
        for unit, count in enumerate(self._epochs.counts):
            if count:
                yield self._load_rows(
                    np.array([unit]), np.arange(count), _EVALUATION_EPOCH
                )

    def _load_rows(
        self, units: np.ndarray, rows: np.ndarray, epoch: int
    ) -> dict[str, np.ndarray]:
        """Loads units as one table, and selects rows of it.

        Args:
            units: int64 [U], units to load.
            rows: int64 [N], rows of the table.
            epoch: Number of the epoch.

        Returns:
            Columns of length N, and `token_ids` of all units.
        """
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

    def _from_generator(
        self, generate: Callable[[], Iterator[dict[str, np.ndarray]]]
    ) -> tf.data.Dataset:
        """Turns generated groups of examples into a dataset."""

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
        """Cuts groups of examples into masked batches of `size` rows."""
        masker = Masker(
            self._config.masking,
            self._tokenizer,
            self._config.seq_length,
            self._config.seed,
        )

        def to_batch(table: dict[str, tf.Tensor]) -> Batch:
            return self._to_batch(table, masker, size)

        # Rows are assembled in slices of one group, and then cut into batches,
        # which may span two groups.
        rows = groups.flat_map(self._to_rows)
        rows = rows.rebatch(size, drop_remainder=drop_remainder)
        return rows.map(
            to_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def _to_rows(self, table: dict[str, tf.Tensor]) -> tf.data.Dataset:
        """Assembles the rows of a group of examples, slice by slice."""
        table = dict(table)
        token_ids = table.pop("token_ids")
        count = tf.shape(table["spans"], tf.int64)[0]

        def assemble_slice(start: tf.Tensor) -> dict[str, tf.Tensor]:
            part = {k: v[start : start + _SLICE] for k, v in table.items()}
            part["rows"], part["firsts"], part["totals"] = assemble(
                token_ids,
                part.pop("spans"),
                self._config.seq_length,
                self._tokenizer.row_template,
                self._paired,
            )
            return part

        return tf.data.Dataset.range(0, count, _SLICE).map(assemble_slice)

    def _to_batch(
        self, table: dict[str, tf.Tensor], masker: Masker, size: int
    ) -> Batch:
        """Masks rows; fills up to `size` rows with rows of weight zero."""
        count = tf.shape(table["rows"])[0]
        row = tf.range(size)
        table = {
            k: tf.gather(v, tf.minimum(row, count - 1))
            for k, v in table.items()
        }
        real = tf.cast(row < count, tf.float32)  # [B]
        if self._source.has_masks:
            masked = _apply_static_masks(table)
        else:
            masked = masker(
                table["rows"], table["totals"], table["ids"], table["epochs"]
            )
        column = tf.range(self._config.seq_length)[tf.newaxis]  # [1, T]
        inside = column < table["totals"][:, tf.newaxis]  # [B, T]
        x = {
            "token_ids": masked.token_ids,
            "padding_mask": tf.cast(inside, tf.int32),
            "masked_positions": masked.positions,
        }
        segments = self._tokenizer.row_template.segments
        if segments is not None:
            second = column >= table["firsts"][:, tf.newaxis]
            ids = tf.where(second, segments.second, segments.first)
            if segments.last is not None:
                ends = column == table["totals"][:, tf.newaxis] - 1
                ids = tf.where(ends, segments.last, ids)
            x["segment_ids"] = tf.where(inside, ids, segments.pad)  # [B, T]
        y = {"mlm": masked.labels}
        weights = {"mlm": masked.weights * real[:, tf.newaxis]}
        if self._paired:
            y["nsp"] = table["labels"]
            weights["nsp"] = real
        if self._config.with_originals:
            is_masked = (masked.positions[..., tf.newaxis] == column) & (
                masked.weights[..., tf.newaxis] > 0.0
            )  # [B, P, T]
            x["choices"] = tf.where(
                tf.reduce_any(is_masked, axis=1),
                masker.choices(table["ids"], table["epochs"]),
                -1,
            )
            y["rtd"] = table["rows"]
            weights["rtd"] = tf.cast(inside, tf.float32) * real[:, tf.newaxis]
        return x, y, weights


def _static_columns(
    loaded: list[Examples], rows: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the static masks of rows of loaded units, [N, P] or [N]."""
    masks = [e.masks for e in loaded if e.masks is not None]
    return {
        "mask_positions": np.concatenate([m.positions for m in masks])[rows],
        "mask_counts": np.concatenate([m.counts for m in masks])[rows],
        "mask_ids": np.concatenate([m.ids for m in masks])[rows],
    }


def _apply_static_masks(table: dict[str, tf.Tensor]) -> Masked:
    """Masks rows [B, T] with the masks of their shard."""
    rows, positions = table["rows"], table["mask_positions"]
    used = tf.sequence_mask(table["mask_counts"], positions.shape[1])  # [B, P]
    labels = tf.gather(rows, positions, batch_dims=1)  # [B, P]
    # Unused slots write the first token of the row, which is there already.
    number = tf.range(tf.shape(rows)[0])[:, tf.newaxis]
    number = tf.broadcast_to(number, tf.shape(positions))
    places = tf.stack([number, positions], axis=-1)  # [B, P, 2]
    return Masked(
        token_ids=tf.tensor_scatter_nd_update(rows, places, table["mask_ids"]),
        positions=positions,
        labels=tf.where(used, labels, 0),
        weights=tf.cast(used, tf.float32),
    )
