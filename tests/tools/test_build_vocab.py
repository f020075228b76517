"""Tests of the build_vocab command."""

import json
import pathlib

import pytest

from tests import verbs
from tfllm.models import FAMILIES
from tfllm.tokenizers import load_tokenizer
from tfllm.tokenizers.row_template import spelled


def _run(*arguments: str) -> verbs.Finished:
    return verbs.run("module", "tools.build_vocab", *arguments)


def test_vocabulary(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("reading readers read readable books\n" * 9)
    result = _run(
        f"--input_files={tmp_path}/*.txt",
        "--vocab_size=60",
        f"--output_dir={tmp_path}/out",
    )
    assert result.status == 0, result.stderr
    tokens = (tmp_path / "out/vocab.txt").read_text().split()
    assert tokens[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert "read" in tokens


def test_sentence_piece(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("reading readers read readable books\n" * 9)
    result = _run(
        "--kind=sentencepiece",
        "--model_type=unigram",
        "--nobyte_fallback",
        f"--input_files={tmp_path}/*.txt",
        "--vocab_size=18",
        "--special_tokens=pad=<pad>,eos=</s>,unk=<unk>",
        f"--output_dir={tmp_path}/out",
    )
    assert result.status == 0, result.stderr
    assert "vocabulary of 18 tokens" in result.stdout
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]


def test_other_kinds_are_refused(tmp_path: pathlib.Path) -> None:
    result = _run("--kind=char", f"--output_dir={tmp_path}")
    assert result.status == 1
    assert "wordpiece" in result.stderr
    assert "sentencepiece" in result.stderr


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        ("wordpiece", "--model_type=bpe"),
        ("byte_bpe", "--lowercase"),
        ("word_bpe", "--lowercase"),
        ("sentencepiece", "--min_frequency=3"),
        ("sentencepiece", "--special_tokens=bos=<s>"),
        ("sentencepiece", "--special_tokens=unknown=<unk>"),
    ],
)
def test_flags_of_another_kind(
    kind: str, flag: str, tmp_path: pathlib.Path
) -> None:
    result = _run(f"--kind={kind}", flag, f"--output_dir={tmp_path}")
    assert result.status == 1
    assert flag[2:].partition("=")[0] in result.stderr
    assert "Received" in result.stderr


@pytest.mark.parametrize(
    ("model", "class_name"),
    [
        ("bert", "BertTokenizer"),
        ("roberta:tiny", "RobertaTokenizer"),
        ("llama", "PreTrainedTokenizerFast"),
        ("qwen2:tiny", "Qwen2Tokenizer"),
        ("openai-gpt", "OpenAIGPTTokenizer"),
    ],
)
def test_vocabulary_of_a_model(
    model: str, class_name: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a.txt").write_text("reading readers read readable books\n" * 9)
    result = _run(
        f"--model={model}",
        "--min_frequency=1",
        f"--input_files={tmp_path}/*.txt",
        "--vocab_size=280",
        f"--output_dir={tmp_path}/out",
    )
    assert result.status == 0, result.stderr
    spec = FAMILIES[model.partition(":")[0]].tokenizer
    tokenizer = load_tokenizer(str(tmp_path / "out"))
    assert f"vocabulary of {tokenizer.vocab_size} tokens" in result.stdout
    assert tokenizer.kind == spec.kind
    assert {*tokenizer.special_tokens.all()} == {*spec.special_tokens.all()}
    rows = spelled(tokenizer.template, tokenizer.special_tokens)
    assert rows.opens == spelled(spec.template, spec.special_tokens).opens
    assert rows.closes == spelled(spec.template, spec.special_tokens).closes
    for name, value in spec.arguments.items():
        assert getattr(tokenizer, name) == value
    if spec.kind == "byte_bpe":
        splits = {"llama": "llama3", "qwen2": "qwen2", "roberta": "gpt2"}
        assert tokenizer.pattern == splits[model.partition(":")[0]]
    config = json.loads((tmp_path / "out/tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == class_name


def test_train_reads_the_vocabulary_of_its_model(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "a.txt").write_text("reading readers read readable books\n" * 9)
    flags = ["--vocab_size=280", f"--input_files={tmp_path}/a.txt"]

    def train(name: str) -> verbs.Finished:
        return verbs.run(
            "train",
            "--model=roberta:tiny",
            "--task=masked_lm",
            f"--tokenizer={tmp_path / name}",
            f"--train_files={tmp_path}/a.txt",
            f"--model_dir={tmp_path}/run_{name}",
            *("--train_steps=1", "--batch_size=2", "--seq_length=16"),
        )

    _run("--kind=byte_bpe", *flags, f"--output_dir={tmp_path}/gpt2")
    refused = train("gpt2")
    assert refused.status == 1
    assert "tools.build_vocab --model=roberta" in refused.stderr
    _run("--model=roberta:tiny", *flags, f"--output_dir={tmp_path}/roberta")
    done = train("roberta")
    assert done.status == 0, done.stderr


@pytest.mark.parametrize(
    ("model", "flag", "name"),
    [
        ("roberta", "--kind=wordpiece", "kind"),
        ("llama", "--kind=sentencepiece", "kind"),
        ("qwen2", "--lowercase", "lowercase"),
        ("roberto", "--vocab_size=300", "model"),
        ("roberta:huge", "--vocab_size=300", "model"),
    ],
)
def test_flags_that_contradict_the_model(
    model: str, flag: str, name: str, tmp_path: pathlib.Path
) -> None:
    result = _run(f"--model={model}", flag, f"--output_dir={tmp_path}")
    assert result.status == 1
    assert f"`{name}`" in result.stderr
    assert "Received" in result.stderr
