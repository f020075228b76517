"""Tests of tfllm.data.token_stream.tokenize_files."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.data.killed import kill_at
from tfllm.data import prepared_folder
from tfllm.data.causal.batches import CausalDataConfig, open_causal_data
from tfllm.data.masked.prepare import PrepareConfig, prepare
from tfllm.data.masked.sources import open_shards
from tfllm.data.token_stream import tokenize_files
from tfllm.data.token_stream.config import TokenizeConfig
from tfllm.data.token_stream.stream import open_stream
from tfllm.data.token_stream.tokenize_files import prepare_stream
from tfllm.tokenizers import ByteBPETokenizer, SpecialTokens, WordPieceTokenizer
from tfllm.tokenizers.byte_pair_model import byte_symbols

_ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(name="config")
def _config(
    text_file: str, byte_bpe: ByteBPETokenizer, tmp_path: pathlib.Path
) -> TokenizeConfig:
    byte_bpe.save(str(tmp_path / "vocab"))
    return TokenizeConfig(
        input_files=text_file,
        tokenizer=str(tmp_path / "vocab"),
        output_dir=str(tmp_path / "shards"),
    )


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize_files, "SHARD_BYTES", 4000)


def _tree(folder: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir()}


def test_a_run_reads_of_shards_what_it_reads_of_text(
    config: TokenizeConfig, byte_bpe: ByteBPETokenizer
) -> None:
    counts = prepare_stream(config)
    text = pathlib.Path(config.input_files).read_text(encoding="utf-8")
    documents = [d.strip() for d in text.split("\n\n")]
    assert counts.words == len(text.split())
    assert counts.text_bytes == sum(len(d.encode()) for d in documents)
    assert len(_tree(config.output_dir)) > 5
    data_config = CausalDataConfig(
        seq_length=16, batch_size=4, isolate_documents=True
    )
    for found, expected in zip(
        *(
            open_causal_data(files, byte_bpe, data_config).dataset().take(5)
            for files in (config.output_dir, config.input_files)
        ),
        strict=True,
    ):
        for one, other in zip(found, expected, strict=True):
            for name in other:
                np.testing.assert_array_equal(one[name], other[name])
    stream = open_stream(config.output_dir, byte_bpe)
    assert stream.counts == counts
    assert len(stream) == counts.tokens


def test_same_files_for_any_number_of_workers(
    config: TokenizeConfig,
) -> None:
    prepare_stream(config)
    other = dataclasses.replace(
        config, output_dir=config.output_dir + "2", workers=2
    )
    prepare_stream(other)
    assert _tree(other.output_dir) == _tree(config.output_dir)


_KILLED = """
import sys, time
from tests.data.killed import kill_at
from tfllm.data.token_stream import tokenize_files

tokenize_files.SHARD_BYTES = 4000
save = tokenize_files._save_ids
def save_slowly(path, ids):
    save(path, ids)
    time.sleep(0.3)
tokenize_files._save_ids = save_slowly
tokenize_files.prepare_stream(tokenize_files.TokenizeConfig(*sys.argv[1:4]))
"""


def test_killed_run_continues(
    config: TokenizeConfig, byte_bpe: ByteBPETokenizer
) -> None:
    whole = dataclasses.replace(config, output_dir=config.output_dir + "2")
    prepare_stream(whole)
    expected = _tree(whole.output_dir)
    folder = pathlib.Path(config.output_dir)
    kill_at(
        folder / tokenize_files.shard_name(2),
        _KILLED,
        config.input_files,
        config.tokenizer,
        config.output_dir,
    )
    kept = folder / tokenize_files.shard_name(0)
    made_at = kept.stat().st_mtime_ns
    assert len(list(folder.glob("*.npy"))) < len(expected) - 2
    with pytest.raises(ValueError, match="not finished"):
        open_stream(config.output_dir, byte_bpe)
    (folder / tokenize_files.shard_name(1)).write_bytes(b"damaged")
    prepare_stream(config)
    assert _tree(config.output_dir) == expected
    assert kept.stat().st_mtime_ns == made_at


def test_damaged_shards_are_named(
    config: TokenizeConfig, byte_bpe: ByteBPETokenizer
) -> None:
    prepare_stream(config)
    path = tokenize_files.shard_path(config.output_dir, 3)
    ids = np.load(path)
    np.save(path, ids[:-1])
    with pytest.raises(ValueError, match="damaged.*shard-000003"):
        open_stream(config.output_dir, byte_bpe)
    os.remove(path)
    with pytest.raises(ValueError, match="missing.*shard-000003"):
        open_stream(config.output_dir, byte_bpe)


def test_shards_of_other_settings_are_refused(
    config: TokenizeConfig, byte_bpe: ByteBPETokenizer
) -> None:
    prepare_stream(config)
    before = _tree(config.output_dir)
    lines = dataclasses.replace(config, document_per="line")
    with pytest.raises(ValueError, match="document_per.*blank_line.*line"):
        prepare_stream(lines)
    assert _tree(config.output_dir) == before
    with pytest.raises(ValueError, match="`document_per`.*Received: file"):
        open_stream(config.output_dir, byte_bpe, document_per="file")
    other = ByteBPETokenizer(
        [*byte_symbols(), "<|endoftext|>"],
        [],
        special_tokens=SpecialTokens(eos="<|endoftext|>"),
    )
    with pytest.raises(ValueError, match="tokenizer of the run"):
        open_stream(config.output_dir, other)
    prepare_stream(dataclasses.replace(lines, overwrite=True))
    stream = open_stream(config.output_dir, byte_bpe, document_per="line")
    assert stream.counts.tokens > 0


def test_tasks_do_not_take_each_others_shards(
    config: TokenizeConfig,
    byte_bpe: ByteBPETokenizer,
    vocab_file: str,
    tokenizer: WordPieceTokenizer,
    tmp_path: pathlib.Path,
) -> None:
    prepare_stream(config)
    masked = PrepareConfig(
        input_files=config.input_files,
        tokenizer=vocab_file,
        output_dir=str(tmp_path / "masked"),
    )
    prepare(masked)
    with pytest.raises(ValueError, match="task, causal_lm.*masked_lm"):
        open_stream(masked.output_dir, byte_bpe)
    with pytest.raises(ValueError, match="task, masked_lm.*causal_lm"):
        open_shards(
            config.output_dir,
            tokenizer,
            masked.instances,
            masked.masking,
            None,
        )
    with pytest.raises(ValueError, match="these differ"):
        prepare(dataclasses.replace(masked, output_dir=config.output_dir))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": 0}, "`workers`.*Received: 0"),
        ({"document_per": "page"}, "`document_per`.*Received: page"),
    ],
)
def test_bad_settings(
    config: TokenizeConfig, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **change)


def test_blank_text_is_refused_and_leaves_no_finished_folder(
    config: TokenizeConfig, tmp_path: pathlib.Path
) -> None:
    blank = tmp_path / "blank.txt"
    blank.write_text("\n \n")
    with pytest.raises(ValueError, match=r"blank text in .*blank\.txt"):
        prepare_stream(dataclasses.replace(config, input_files=str(blank)))
    assert not (
        pathlib.Path(config.output_dir) / prepared_folder.MANIFEST_FILE
    ).exists()
