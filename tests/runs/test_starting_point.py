"""What a run starts from: its tokenizer, the positions of its model."""

import pathlib

import pytest

from tfllm.interop import hub, model_folder
from tfllm.models import TransformerConfig
from tfllm.runs import starting_point
from tfllm.runs.run_config import RunConfig
from tfllm.tokenizers import ByteBPETokenizer, WordPieceTokenizer
from tfllm.tokenizers.byte_pair_model import byte_symbols


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    ByteBPETokenizer(byte_symbols(), []).save(str(tmp_path))
    return tmp_path


def model_of(folder: pathlib.Path, **flags: str | int) -> TransformerConfig:
    settings = {"task": "causal_lm", "model": "gpt2:nano", "seq_length": 64}
    config = RunConfig.of(**{**settings, "tokenizer": str(folder), **flags})
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
    config = RunConfig.of(
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


@pytest.mark.parametrize(
    ("flag", "lowercase"), [("auto", False), ("true", True), ("false", False)]
)
def test_lower_case_of_a_bare_vocabulary(
    flag: str, lowercase: bool, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "vocab.txt"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "The", "the"]
    file.write_text("\n".join(tokens) + "\n")
    config = RunConfig.of(
        model="bert:tiny", tokenizer=str(file), lower_case=flag, seq_length=16
    )
    with starting_point.opened(config) as start:
        assert start.tokenizer.tokenize(["The"]).to_list() == [
            [6 if lowercase else 5]
        ]
        # Prepared shards of the other case are told apart.
        other = WordPieceTokenizer(tokens, not lowercase)
        assert start.tokenizer.vocab_hash() != other.vocab_hash()


def test_pair_objective_is_that_of_the_family(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    fetched = []

    def fetch(hub_id: str, revision: str | None = None) -> pathlib.Path:
        fetched.append(hub_id)
        return tmp_path

    monkeypatch.setattr(hub, "fetch", fetch)
    for model, init_from, objective in (
        ("", "", "nsp"),
        ("bert:tiny", "", "nsp"),
        ("roberta:tiny", "", "none"),
        ("", str(tmp_path), "none"),
        ("", f"file://{tmp_path}", "none"),
        ("", "FacebookAI/roberta-base", "none"),
        ("bert:tiny", "FacebookAI/roberta-base", "nsp"),
    ):
        assert starting_point.pair_objective(model, init_from) == objective
    assert fetched == ["FacebookAI/roberta-base"]


def test_lower_case_is_not_of_byte_level_bpe(folder: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="left out for .*'byte_bpe'.*True"):
        model_of(folder, lower_case="true")
