"""Exports of models that read SentencePiece, in the C++ runtime."""

import dataclasses
import pathlib

import keras
import pytest

from tests.serving import small_models
from tests.tokenizers.test_sentence_piece import lines, tokenizer_of, train
from tfllm.generation import GenerationConfig
from tfllm.generation.config import GENERATION_CONFIG_FILE
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.runtime.c_loader import SavedModel
from tfllm.serving.export import export
from tfllm.serving.export_config import ExportConfig, ExportSettings
from tfllm.tasks import CausalLM

NEW_TOKENS = 6


def model_folder_of(kind: str, folder: pathlib.Path) -> str:
    """Returns a folder of a GPT-2 with a SentencePiece tokenizer."""
    tokenizer = tokenizer_of(
        train(
            model_type=kind,
            byte_fallback=True,
            vocab_size=700,
            character_coverage=0.98,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
        )
    )
    keras.utils.set_random_seed(0)
    task = CausalLM(small_models.config_of("gpt2", tokenizer))
    small_models.shake(task, 0.2)
    model_folder.save(task, folder, tokenizer)
    config = GenerationConfig.from_published(tokenizer.model_ids)
    (folder / GENERATION_CONFIG_FILE).write_text(config.to_json())
    return str(folder)


@pytest.fixture(autouse=True)
def _gpt2_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the smallest causal family read SentencePiece."""
    gpt2 = FAMILIES["gpt2"]
    spec = dataclasses.replace(gpt2.tokenizer, kinds=("sentence_piece",))
    family = dataclasses.replace(gpt2, tokenizer=spec)
    monkeypatch.setitem(FAMILIES, "gpt2", family)


@pytest.mark.parametrize(
    "kind", ["bpe", pytest.param("unigram", marks=pytest.mark.wide)]
)
def test_answers_are_those_of_python(kind: str, tmp_path: pathlib.Path) -> None:
    folder = model_folder_of(kind, tmp_path / "model")
    task = model_folder.load(folder)
    assert task.tokenizer.kind == "sentence_piece"
    report = export(
        ExportConfig(
            folder,
            str(tmp_path / "served"),
            settings=ExportSettings(max_new_tokens=NEW_TOKENS),
        )
    )
    texts = ["The house", " on  the hill", "日本語 😀", *lines(12)[8:]]
    # In this process, XLA stays as other tests need it.
    with SavedModel(report.folder, disable_xla=False) as model:
        served = model.run("serving_default", {"text": texts})
    for number, text in enumerate(texts):
        ((expected,),) = task.text([text], max_new_tokens=NEW_TOKENS)
        assert served["text"][number].decode() == expected.text
        count = served["lengths"][number]
        ids = served["token_ids"][number][:count].tolist()
        assert ids == expected.token_ids


def test_what_changes_with_the_tokenizer(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "model"
    model_folder_of("bpe", folder)
    before = model_folder.stamps(str(folder))
    path = folder / "tokenizer.model"
    path.write_bytes(path.read_bytes() + b"\0")
    assert model_folder.stamps(str(folder)) != before
