"""What a run starts from: the positions of its model."""

import pathlib

import pytest

from tfllm import starting_point
from tfllm.interop import model_folder
from tfllm.models import TransformerConfig
from tfllm.run_config import RunConfig
from tfllm.tokenizers import ByteBPETokenizer
from tfllm.tokenizers.byte_pair_model import byte_symbols


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    ByteBPETokenizer(byte_symbols(), []).save(str(tmp_path))
    return tmp_path


def model_of(folder: pathlib.Path, **flags: str | int) -> TransformerConfig:
    settings = {"task": "causal_lm", "model": "gpt2:nano", "seq_length": 64}
    config = RunConfig(**{**settings, "tokenizer": str(folder), **flags})
    with starting_point.opened(config) as start:
        return start.model


def test_positions_that_do_not_learn(
    folder: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert model_of(folder).max_length == 1024
    (record,) = caplog.records
    assert "last 960 of the model's 1024 positions" in record.getMessage()
    assert "`seq_length`=64" in record.getMessage()
    assert "--max_positions=64" in record.getMessage()
    caplog.clear()
    assert model_of(folder, max_positions=64).max_length == 64
    assert model_of(folder, seq_length=1024).max_length == 1024
    assert not caplog.records


def test_a_model_with_other_positions_is_saved_with_them(
    folder: pathlib.Path,
) -> None:
    config = RunConfig(
        task="causal_lm",
        model="gpt2:nano",
        seq_length=24,
        max_positions=24,
        tokenizer=str(folder),
    )
    with starting_point.opened(config) as start:
        task = start.create_task()
        model_folder.save(task, folder / "model", start.tokenizer)
    again = model_folder.load(str(folder / "model"))
    assert again.config.max_length == 24
    with pytest.raises(ValueError, match="24 positions of the model.*28"):
        again.generate(["ab"], max_new_tokens=28)
    assert len(again.generate(["ab"], max_new_tokens=22)) == 1
    # Its weights are for these positions.
    with pytest.raises(ValueError, match="`max_positions` goes with a fresh"):
        model_of(
            folder, model="", init_from=str(folder / "model"), max_positions=9
        )


def test_more_tokens_than_positions(folder: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="at most 32, the positions.*64"):
        model_of(folder, max_positions=32)
