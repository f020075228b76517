"""Flags of noise: one section of a run, checked together."""

import dataclasses

import pytest

from tests.models import test_encoder_decoder as tiny
from tfllm.data.denoising.config import DenoisingOptions
from tfllm.data.kinds import data_kind
from tfllm.run_settings import flat, nested
from tfllm.runs.run_config import RunConfig

NOISE = DenoisingOptions(
    "text_infilling", noise_density=0.2, token_masking=0.1, token_deletion=0.2
)
FLAGS = {
    "task": "seq2seq_lm",
    "model_dir": "m",
    "train_files": "t",
    "tokenizer": "v",
    "train_steps": 5,
    "seq_length": 64,
    "document_per": "line",
    **dataclasses.asdict(NOISE),
}


def test_flags_become_the_options_of_the_data() -> None:
    config = RunConfig.of(**FLAGS)
    config.check()
    data = config.data_config()
    assert data.noise == NOISE
    assert (data.seq_length, data.document_per) == (64, "line")
    assert config.evaluation_data() == data


def test_a_record_has_a_section_for_them() -> None:
    config = RunConfig.of(**FLAGS)
    record = nested(config.settings)
    assert record["denoising"] == dataclasses.asdict(NOISE)
    assert RunConfig.from_record(flat(record)).denoising == NOISE


def test_rows_start_as_the_model_does() -> None:
    model = tiny.config(decoder_start_token_id=3)
    data = RunConfig.of(**FLAGS).data_config()
    assert data.decoder_start_token_id is None
    fitted = data_kind("seq2seq_lm").for_model(data, model)
    assert fitted.decoder_start_token_id == 3
    other = RunConfig().data_config()
    assert data_kind("masked_lm").for_model(other, model) == other


def test_other_tasks_refuse_them() -> None:
    flags = {**FLAGS, "task": "causal_lm"}
    with pytest.raises(ValueError, match="goes with --task=seq2seq_lm"):
        RunConfig.of(**flags).check()
    with pytest.raises(
        ValueError, match="`token_\\w+` goes with.*text_infilling"
    ):
        RunConfig.of(**{**FLAGS, "denoising": "span_corruption"})
