"""Tests of tfllm.data.masked.shards."""

import json
import pathlib

import numpy as np
import pytest

from tfllm.data import prepared_folder
from tfllm.data.masked import shards
from tfllm.data.masked.instances import Examples, StaticMasks


def _examples(masks: bool = True, count: int = 5) -> Examples:
    rng = np.random.default_rng(0)
    static = StaticMasks(
        positions=rng.integers(0, 32, [count, 4]).astype(np.int32),
        counts=rng.integers(0, 4, count).astype(np.int32),
        ids=rng.integers(0, 99, [count, 4]).astype(np.int32),
    )
    return Examples(
        token_ids=rng.integers(0, 99, 60).astype(np.int32),
        spans=np.sort(rng.integers(0, 60, [count, 4])).astype(np.int32),
        labels=rng.integers(0, 2, count).astype(np.int32),
        masks=static if masks else None,
    )


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("vocab_size", [100, 1 << 16])
def test_round_trip(
    tmp_path: pathlib.Path, masks: bool, vocab_size: int
) -> None:
    path = str(tmp_path / "shard")
    written = _examples(masks)
    if vocab_size > 100:
        written.token_ids[3] = 65535
    shards.write_shard(path, written, vocab_size)
    read = shards.read_shard(path, vocab_size)
    for name in ("token_ids", "spans", "labels"):
        np.testing.assert_array_equal(
            getattr(read, name), getattr(written, name)
        )
    assert (read.masks is None) == (not masks)
    if read.masks is not None and written.masks is not None:
        for name in ("positions", "counts", "ids"):
            np.testing.assert_array_equal(
                getattr(read.masks, name), getattr(written.masks, name)
            )
    assert [p.name for p in tmp_path.iterdir()] == ["shard"]


def test_empty_shard(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "shard")
    shards.write_shard(path, _examples(count=0), 100)
    assert shards.read_shard(path, 100).count == 0


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damaged_shard_is_named(tmp_path: pathlib.Path, damage: str) -> None:
    path = tmp_path / "shard-000003.tfrecord"
    shards.write_shard(str(path), _examples(), 100)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(
        {
            "cut": bytes(data[: len(data) // 2]),
            "flip": bytes(data),
            "empty": b"",
            "text": b"hello " * 50,
        }[damage]
    )
    with pytest.raises(ValueError, match=r"damaged.*shard-000003\.tfrecord"):
        shards.read_shard(str(path), 100)


def test_missing_shard_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"missing.*shard-000001"):
        shards.read_shard(shards.shard_path(str(tmp_path), 1), 100)


def test_ids_outside_the_vocabulary(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "shard")
    shards.write_shard(path, _examples(), 100)
    with pytest.raises(ValueError, match=r"\[0, 50\).*Received: \d+ in .*sh"):
        shards.read_shard(path, 50)


def test_unwritable_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match="Cannot write"):
        shards.write_shard(str(tmp_path / "no" / "shard"), _examples(), 100)


def test_manifest(tmp_path: pathlib.Path) -> None:
    folder = str(tmp_path)
    assert not prepared_folder.is_prepared(folder)
    with pytest.raises(ValueError, match=r"must hold manifest\.json"):
        shards.read_manifest(folder)
    settings = {
        "format_version": prepared_folder.FORMAT_VERSION,
        "task": shards.TASK,
    }
    prepared_folder.write_json(str(tmp_path / "settings.json"), settings)
    assert prepared_folder.is_prepared(folder)
    with pytest.raises(ValueError, match="not finished"):
        shards.read_manifest(folder)
    shards.write_manifest(folder, settings, [5])
    with pytest.raises(ValueError, match="missing.*shard-000000"):
        shards.read_manifest(folder)
    shards.write_shard(shards.shard_path(folder, 0), _examples(), 100)
    assert shards.read_manifest(folder).counts == (5,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold an object"),
        ("{}", "damaged"),
        (
            json.dumps({"settings": {"format_version": 99}, "shards": []}),
            "format version 1. Received: 99",
        ),
    ],
)
def test_bad_manifest(
    tmp_path: pathlib.Path, content: str, message: str
) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        shards.read_manifest(str(tmp_path))
