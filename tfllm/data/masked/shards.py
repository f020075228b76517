"""Prepared shards: the examples of one block of text in one file.

A shard is a TFRecord file with one `tf.train.Example`, whose features are
little-endian columns, so that a shard loads without a loop over examples:

    count            int32 [1]         examples, N
    token_ids        ids [tokens]      the block's sentences, without repeats
    spans            int32 [N, 4]      a_start, a_end, b_start, b_end
    labels           uint8 [N]         1 = random or swapped B
    mask_positions   uint16 [N, P]     static masks only
    mask_counts      uint16 [N]
    mask_ids         ids [N, P]        token written at each position

where ids are uint16 for vocabularies below 65,536, else int32. Examples overlap
(dupe_factor passes over the same text), so that spans take about a tenth of the
space of padded rows. `instances.assemble` lays out the rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm import file_access
from tfllm.data import prepared_folder
from tfllm.data.masked.config import TASK
from tfllm.data.masked.instances import Examples, StaticMasks


@dataclass(frozen=True)
class Manifest:
    """Contents of a folder of shards.

    Args:
        folder: The folder.
        counts: Examples per shard.
        settings: Sources, options and tokenizer of the shards.
    """

    folder: str
    counts: tuple[int, ...]
    settings: dict[str, Any]


def shard_name(index: int) -> str:
    """Returns the file name of a shard."""
    return prepared_folder.shard_name(index, ".tfrecord")


def shard_path(folder: str, index: int) -> str:
    """Returns the path of a shard."""
    return file_access.join(folder, shard_name(index))


def _id_dtype(vocab_size: int) -> np.dtype:
    """Returns the stored type of token ids."""
    return np.dtype("<u2" if vocab_size < 1 << 16 else "<i4")


def _column(array: np.ndarray, dtype: str | np.dtype) -> tf.train.Feature:
    """Returns an array as a feature of raw bytes."""
    data = np.ascontiguousarray(array.astype(dtype)).tobytes()
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))


def write_shard(path: str, examples: Examples, vocab_size: int) -> None:
    """Writes a shard atomically.

    Args:
        path: Path of the shard.
        examples: The examples of one block.
        vocab_size: Size of the vocabulary of the ids.

    Raises:
        OSError: The file cannot be written; nothing is left at `path`.
    """
    ids = _id_dtype(vocab_size)
    features = {
        "count": _column(np.array([examples.count]), "<i4"),
        "token_ids": _column(examples.token_ids, ids),
        "spans": _column(examples.spans, "<i4"),
        "labels": _column(examples.labels, "u1"),
    }
    if examples.masks is not None:
        masks = examples.masks
        features["mask_positions"] = _column(masks.positions, "<u2")
        features["mask_counts"] = _column(masks.counts, "<u2")
        features["mask_ids"] = _column(masks.ids, ids)
    record = tf.train.Example(features=tf.train.Features(feature=features))
    temporary = path + prepared_folder.TEMPORARY_SUFFIX
    try:
        with tf.io.TFRecordWriter(temporary) as writer:
            writer.write(record.SerializeToString(deterministic=True))
        file_access.rename(temporary, path)
    except tf.errors.OpError as error:
        file_access.remove(temporary)
        raise OSError(f"Cannot write {path}: {error.message}") from error


def read_shard(path: str, vocab_size: int) -> Examples:
    """Reads and checks a shard.

    Args:
        path: Path of the shard.
        vocab_size: Size of the vocabulary of the ids.

    Returns:
        Its examples.

    Raises:
        ValueError: The file is missing, damaged, or has ids outside the
            vocabulary.
    """
    try:
        records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
        if len(records) != 1:
            raise ValueError(f"it holds {len(records)} records, not 1")
        examples = _parse(records[0], _id_dtype(vocab_size))
    except tf.errors.NotFoundError as error:
        raise ValueError(
            f"A shard is missing. Received: {path}. Run tools.prepare_data "
            "again with the same flags; it makes only what is missing."
        ) from error
    except (tf.errors.OpError, ValueError, KeyError, IndexError) as error:
        reason = getattr(error, "message", error)
        raise ValueError(
            f"A shard is damaged. Received: {path} ({reason}). Move it away "
            "and run tools.prepare_data again with the same flags."
        ) from error
    ids = [examples.token_ids]
    if examples.masks is not None:
        ids.append(examples.masks.ids)
    largest = max(int(column.max(initial=0)) for column in ids)
    smallest = min(int(column.min(initial=0)) for column in ids)
    if largest >= vocab_size or smallest < 0:
        worst = largest if largest >= vocab_size else smallest
        raise ValueError(
            f"A shard must hold token ids in [0, {vocab_size}), the "
            f"vocabulary of the tokenizer. Received: {worst} in {path}. "
            "Prepare the shards again with this tokenizer."
        )
    return examples


def _parse(record: bytes, ids: np.dtype) -> Examples:
    """Decodes the columns; raises ValueError if they do not fit together."""
    try:
        feature = tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf's DecodeError differs by version
        raise ValueError(f"it is not a tf.train.Example: {error}") from error

    def column(name: str, dtype: str | np.dtype) -> np.ndarray:
        if name not in feature:
            raise ValueError(f"it has no column {name!r}")
        data = feature[name].bytes_list.value[0]
        return np.frombuffer(data, dtype).astype(np.int32)

    count = int(column("count", "<i4")[0])
    token_ids = column("token_ids", ids)
    spans = column("spans", "<i4").reshape(count, 4)
    labels = column("labels", "u1").reshape(count)
    if spans.min(initial=0) < 0 or spans.max(initial=0) > len(token_ids):
        raise ValueError("its spans lie outside its tokens")
    masks = None
    if "mask_positions" in feature and count:
        masks = StaticMasks(
            positions=column("mask_positions", "<u2").reshape(count, -1),
            counts=column("mask_counts", "<u2").reshape(count),
            ids=column("mask_ids", ids).reshape(count, -1),
        )
    return Examples(token_ids, spans, labels, masks)


def write_manifest(
    folder: str, settings: dict[str, Any], counts: list[int]
) -> None:
    """Marks a folder as finished."""
    listed = [
        {"file": shard_name(i), "examples": count}
        for i, count in enumerate(counts)
    ]
    prepared_folder.finish(folder, settings, listed, num_examples=sum(counts))


def read_manifest(folder: str) -> Manifest:
    """Reads and checks the manifest of a folder.

    Args:
        folder: Folder that `tools.prepare_data --task=masked_lm` wrote.

    Returns:
        The manifest; all shards in it exist.

    Raises:
        ValueError: See `prepared_folder.read`.
    """
    content = prepared_folder.read(folder, TASK)
    counts = tuple(int(shard["examples"]) for shard in content["shards"])
    return Manifest(folder, counts, content["settings"])
