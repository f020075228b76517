"""What prepared shards record of their tokenizer."""

import dataclasses
import json
import pathlib

import pytest

from tfllm.data import prepared_folder
from tfllm.data.causal.config import CausalDataConfig
from tfllm.data.masked.config import (
    InstanceSettings,
    MaskedDataConfig,
    PrepareConfig,
)
from tfllm.data.masked.prepare import prepare
from tfllm.data.open_data import open_data
from tfllm.data.token_stream.config import TokenizeConfig
from tfllm.data.token_stream.tokenize_files import prepare_stream
from tfllm.tokenizers import Tokenizer, load_tokenizer
from tfllm.tokenizers.byte_pair import ByteBPETokenizer


def _with_other_template(folder: str) -> Tokenizer:
    """A tokenizer with the same ids, and another token before a text."""
    tokenizer = load_tokenizer(folder)
    tokenizer.row_template = dataclasses.replace(
        tokenizer.row_template, opens=(7,)
    )
    return tokenizer


def _remove_template(folder: str) -> None:
    """Makes the manifest of a folder that of an older version."""
    path = pathlib.Path(folder) / prepared_folder.MANIFEST_FILE
    content = json.loads(path.read_text())
    del content["settings"]["row_template"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("task", ["masked_lm", "causal_lm"])
def test_shards_of_another_row_template_are_refused(
    task: str,
    vocab_file: str,
    text_file: str,
    byte_bpe: ByteBPETokenizer,
    tmp_path: pathlib.Path,
) -> None:
    shards = str(tmp_path / "shards")
    config: MaskedDataConfig | CausalDataConfig
    if task == "masked_lm":
        origin = vocab_file
        config = MaskedDataConfig(seq_length=32, batch_size=8)
        settings = InstanceSettings(seq_length=32, dupe_factor=1)
        prepare(PrepareConfig(text_file, origin, shards, instances=settings))
    else:
        origin = str(tmp_path / "tokenizer")
        byte_bpe.save(origin)
        config = CausalDataConfig(seq_length=32, batch_size=8)
        prepare_stream(TokenizeConfig(text_file, origin, shards))
    open_data(task, shards, load_tokenizer(origin), config)
    other = _with_other_template(origin)
    with pytest.raises(
        ValueError, match=r"row template.*'opens': \[7\].*Received: .*shards"
    ):
        open_data(task, shards, other, config)
    _remove_template(shards)
    open_data(task, shards, other, config)
