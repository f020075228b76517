"""Tests of tfllm.data.masked.prepare."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.data.killed import kill_at
from tfllm.data.masked import instances, prepare, shards
from tfllm.data.masked.instances import InstanceSettings
from tfllm.data.masked.masking import Masker, MaskingConfig
from tfllm.data.masked.prepare import PrepareConfig
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

_ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(name="config")
def _config(
    text_file: str, vocab_file: str, tmp_path: pathlib.Path
) -> PrepareConfig:
    return PrepareConfig(
        input_files=text_file,
        tokenizer=vocab_file,
        output_dir=str(tmp_path / "shards"),
        instances=InstanceSettings(seq_length=32, dupe_factor=2, seed=5),
        static_masks=True,
        block_bytes=8000,
    )


def _tree(folder: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir()}


def _with(config: PrepareConfig, **changes: Any) -> PrepareConfig:
    return dataclasses.replace(config, **changes)


def test_shards_hold_the_examples_of_the_text(
    config: PrepareConfig, tokenizer: WordPieceTokenizer
) -> None:
    manifest = prepare.prepare(config)
    content = json.loads(_tree(config.output_dir)["manifest.json"])
    assert content["num_examples"] == sum(manifest.counts) > 500
    made = content["settings"]
    assert made["vocab_hash"] == tokenizer.vocab_hash()
    assert made["sources"] == [
        {
            "file": config.input_files,
            "bytes": os.path.getsize(config.input_files),
        }
    ]
    path = shards.shard_path(config.output_dir, 2)
    examples = shards.read_shard(path, tokenizer.vocab_size)
    assert examples.count == manifest.counts[2]
    # Static masks are the dynamic ones of epoch 0.
    rows, _, totals = instances.assemble(
        tf.constant(examples.token_ids),
        tf.constant(examples.spans),
        32,
        tokenizer.row_template,
        True,
    )
    ids = prepare.example_ids(2, np.arange(examples.count))
    masked = Masker(config.masking, tokenizer, 32, 5)(
        rows, totals, tf.constant(ids)
    )
    assert examples.masks is not None
    np.testing.assert_array_equal(masked.positions, examples.masks.positions)
    np.testing.assert_array_equal(
        tf.gather(masked.token_ids, masked.positions, batch_dims=1),
        examples.masks.ids,
    )


def test_same_files_for_any_number_of_workers(
    config: PrepareConfig, tmp_path: pathlib.Path
) -> None:
    prepare.prepare(config)
    expected = _tree(config.output_dir)
    folder = str(tmp_path / "two")
    prepare.prepare(_with(config, output_dir=folder, workers=2))
    assert _tree(folder) == expected


_KILLED = """
import sys, time
from tests.data.killed import kill_at
from tfllm.data.masked import prepare
from tfllm.data.masked.instances import InstanceSettings

write = prepare.shards.write_shard
def write_slowly(path, examples, vocab_size):
    write(path, examples, vocab_size)
    open(path.replace("shard-", "shard-9") + ".tmp", "w").close()
    time.sleep(0.3)
prepare.shards.write_shard = write_slowly
prepare.prepare(prepare.PrepareConfig(
    *sys.argv[1:4],
    instances=InstanceSettings(seq_length=32, dupe_factor=2, seed=5),
    static_masks=True, block_bytes=8000,
))
"""


def test_killed_run_continues(
    config: PrepareConfig, tmp_path: pathlib.Path
) -> None:
    whole = _with(config, output_dir=str(tmp_path / "whole"))
    prepare.prepare(whole)
    expected = _tree(whole.output_dir)
    folder = pathlib.Path(config.output_dir)
    kill_at(
        folder / shards.shard_name(2),
        _KILLED,
        config.input_files,
        config.tokenizer,
        config.output_dir,
    )
    kept = folder / shards.shard_name(0)
    made_at = kept.stat().st_mtime_ns
    assert len(list(folder.glob("*.tfrecord"))) < len(expected) - 2
    with pytest.raises(ValueError, match="not finished"):
        shards.read_manifest(config.output_dir)
    # A shard that was damaged meanwhile is made again.
    (folder / shards.shard_name(1)).write_bytes(b"damaged")
    prepare.prepare(config)
    assert _tree(config.output_dir) == expected
    assert kept.stat().st_mtime_ns == made_at


def test_other_settings_are_refused(config: PrepareConfig) -> None:
    prepare.prepare(config)
    before = _tree(config.output_dir)
    other = _with(
        config, instances=dataclasses.replace(config.instances, seed=6)
    )
    with pytest.raises(ValueError, match=r"seed \(there 5, asked 6\)"):
        prepare.prepare(other)
    assert _tree(config.output_dir) == before
    manifest = prepare.prepare(
        _with(other, overwrite=True, static_masks=False, block_bytes=20000)
    )
    after = _tree(config.output_dir)
    assert len(after) == len(manifest.counts) + 2 < len(before)


def test_blank_text(config: PrepareConfig, tmp_path: pathlib.Path) -> None:
    blank = tmp_path / "blank.txt"
    blank.write_text("\n \n\n")
    with pytest.raises(ValueError, match=r"blank text in .*blank\.txt"):
        prepare.prepare(_with(config, input_files=str(blank)))


def test_bad_settings(config: PrepareConfig) -> None:
    with pytest.raises(ValueError, match="`workers`.*Received: 0"):
        _with(config, workers=0)
    with pytest.raises(ValueError, match="`max_predictions`.*Received: 50"):
        _with(config, masking=MaskingConfig(max_predictions=50))
