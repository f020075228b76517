"""Prepared shards: the examples of one block of text in one file.

A shard is a TFRecord file with one `tf.train.Example`, whose features are
little-endian columns, so that a shard loads with one parse and no loop:

    count            int32 [1]         examples, N
    token_ids        ids [tokens]      the block's sentences, without repeats
    spans            int32 [N, 4]      a_start, a_end, b_start, b_end
    labels           uint8 [N]         1 = random or swapped B
    mask_positions   uint16 [N, P]     static masks only
    mask_counts      uint16 [N]
    mask_ids         ids [N, P]        what stands at each position

where ids are uint16 for vocabularies below 65,536 and int32 above. Examples
overlap (dupe_factor passes over the same text), so spans take about a tenth
of what padded rows would. Rows are laid out by `instances.assemble`.

The folder also holds `settings.json`, written first (what the shards are made
of and with), and `manifest.json`, written last: settings and counts per shard.
A folder without a manifest is not finished.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm import file_access
from tfllm.data.pretraining.instances import Examples, StaticMasks

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
SETTINGS_FILE = "settings.json"
TEMPORARY_SUFFIX = ".tmp"


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Args:
        folder: where it lies.
        counts: examples per shard.
        settings: what the shards were made of and with.
    """

    folder: str
    counts: tuple[int, ...]
    settings: dict[str, Any]


def shard_name(index: int) -> str:
    """File name of a shard."""
    return f"shard-{index:06d}.tfrecord"


def shard_path(folder: str, index: int) -> str:
    """Path of a shard."""
    return file_access.join(folder, shard_name(index))


def is_shards_folder(path: str) -> bool:
    """Whether a path is a folder that `tools.prepare_data` wrote to."""
    return any(
        file_access.exists(file_access.join(path, name))
        for name in (MANIFEST_FILE, SETTINGS_FILE)
    )


def _id_dtype(vocab_size: int) -> np.dtype:
    return np.dtype("<u2" if vocab_size < 1 << 16 else "<i4")


def _column(values: np.ndarray, dtype: str | np.dtype) -> tf.train.Feature:
    data = np.ascontiguousarray(values.astype(dtype)).tobytes()
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))


def write_shard(path: str, examples: Examples, vocab_size: int) -> None:
    """Writes a shard, complete or not at all.

    Args:
        path: where to.
        examples: the examples of one block.
        vocab_size: size of the vocabulary of the ids.

    Raises:
        OSError: it could not be written; nothing is left at `path`.
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
    temporary = path + TEMPORARY_SUFFIX
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
        path: the shard.
        vocab_size: size of the vocabulary of the ids.

    Returns:
        Its examples.

    Raises:
        ValueError: the file is missing, damaged, or holds other ids.
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
            f"A shard is damaged. Received: {path} ({reason}). Delete it and "
            "run tools.prepare_data again with the same flags."
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


def write_json(path: str, content: dict[str, Any]) -> None:
    """Writes a JSON file, complete or not at all."""
    with file_access.write_atomically(path) as file:
        json.dump(content, file, indent=2, sort_keys=True)
        file.write("\n")


def read_json(path: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        ValueError: the file does not hold one.
    """
    with file_access.open_binary(path) as file:
        data = file.read()
    try:
        content = json.loads(data)
    except ValueError as error:
        raise ValueError(
            f"A JSON file cannot be read. Received: {path} ({error})."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"A JSON file must hold an object. Received: {path}.")
    return content


def write_manifest(
    folder: str, settings: dict[str, Any], counts: list[int]
) -> None:
    """Marks a folder as finished."""
    content = {
        "settings": settings,
        "num_examples": sum(counts),
        "shards": [
            {"file": shard_name(i), "examples": count}
            for i, count in enumerate(counts)
        ],
    }
    write_json(file_access.join(folder, MANIFEST_FILE), content)


def read_manifest(folder: str) -> Manifest:
    """Reads and checks the manifest of a folder.

    Args:
        folder: what `tools.prepare_data` wrote.

    Returns:
        The manifest; every shard it names exists.

    Raises:
        ValueError: the folder is not finished, of another format version, or
            lacks shards.
    """
    path = file_access.join(folder, MANIFEST_FILE)
    if not file_access.exists(path):
        started = file_access.exists(file_access.join(folder, SETTINGS_FILE))
        raise ValueError(
            (
                "The preparation of these shards was not finished. "
                f"Received: {folder}. Run tools.prepare_data again with the "
                "same flags; finished shards are kept."
            )
            if started
            else (
                f"A folder of shards must hold {MANIFEST_FILE}. Received: "
                f"{folder}. Make it with tools.prepare_data."
            )
        )
    content = read_json(path)
    try:
        settings = content["settings"]
        version = settings["format_version"]
        counts = tuple(int(s["examples"]) for s in content["shards"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"A manifest is damaged. Received: {path} (no {error}). Run "
            "tools.prepare_data again with --overwrite."
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"Shards must have format version {FORMAT_VERSION}. Received: "
            f"{version} in {path}. Prepare them again with --overwrite."
        )
    for index in range(len(counts)):
        shard = shard_path(folder, index)
        if not file_access.exists(shard):
            raise ValueError(
                f"A shard is missing. Received: {shard}. Run "
                "tools.prepare_data again with the same flags."
            )
    return Manifest(folder, counts, settings)


def settings_key(settings: dict[str, Any]) -> str:
    """A short name that is equal for equal settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
