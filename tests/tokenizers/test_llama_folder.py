"""A folder of LLaMA 1 and 2: tokenizer.model beside config and weights."""

import json
import pathlib
from typing import Any

import keras
import pytest
import sentencepiece

import tfllm
from tests.serving import small_models
from tests.tokenizers.test_sentence_piece import TEXTS, train
from tfllm.generation.config import GENERATION_CONFIG_FILE, GenerationConfig
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.runtime.c_loader import SavedModel
from tfllm.serving.export import export
from tfllm.serving.export_config import ExportConfig, ExportSettings
from tfllm.tasks import CausalLM
from tfllm.tokenizers import sentence_piece_model as models

SIZE = 1000
ADDED = "<tool>"


@pytest.fixture(name="content", scope="module")
def _content() -> bytes:
    return train(
        model_type="bpe",
        byte_fallback=True,
        vocab_size=SIZE,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
    )


def write(folder: pathlib.Path, content: bytes, **config: Any) -> str:
    """Writes a folder as those of LLaMA 1 and 2 were published."""
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 1, "hidden_size": 32, "num_heads": 2}
    task = CausalLM(
        FAMILIES["llama"].config(
            **sizes,
            num_kv_heads=1,
            intermediate_size=48,
            vocab_size=SIZE + 1,
            max_position_embeddings=128,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    small_models.shake(task, 0.2)
    model_folder.save(task, folder)
    (folder / "tokenizer.model").write_bytes(content)
    added = {"content": ADDED, "special": False, "normalized": False}
    values = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "added_tokens_decoder": {str(SIZE): added},
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return str(folder)


def without_prefix(content: bytes) -> bytes:
    model = models.parse(content, "model")
    return models.without_dummy_prefix(model).SerializeToString()


@pytest.mark.parametrize("legacy", [True, False, None])
def test_ids_are_those_of_the_package(
    legacy: bool | None, content: bytes, tmp_path: pathlib.Path
) -> None:
    """In parts: `legacy` puts a "▁" before each, else before the first."""
    options = {} if legacy is None else {"legacy": legacy}
    task = tfllm.load(write(tmp_path / "model", content, **options))
    tokenizer = task.tokenizer
    first = sentencepiece.SentencePieceProcessor(model_proto=content)
    later = first
    if legacy is False:
        later = sentencepiece.SentencePieceProcessor(
            model_proto=without_prefix(content)
        )
    texts = [t for t in TEXTS if ADDED not in t]
    assert tokenizer.prompts(texts).to_list() == [
        [1, *first.encode(text)] for text in texts
    ]
    parts = [(a, b) for a, b in zip(texts, texts[1:], strict=False)]
    split = tokenizer.tokenize([f"{a}{ADDED}{b}" for a, b in parts]).to_list()
    for (a, b), row in zip(parts, split, strict=True):
        assert row == [*first.encode(a), SIZE, *later.encode(b)], (a, b)
    # What is saved reads the same.
    tfllm.save(task, tmp_path / "saved")
    again = tfllm.load(tmp_path / "saved").tokenizer
    assert again.vocab_hash() == tokenizer.vocab_hash()
    assert again.row_template == tokenizer.row_template
    assert again.model == tokenizer.model
    written = json.loads(
        (tmp_path / "saved" / "tokenizer_config.json").read_text()
    )
    assert written["legacy"] == (legacy is not False)


# Exports that read SentencePiece are in test_sentence_piece_exports.py.
@pytest.mark.wide
def test_generated_and_served(content: bytes, tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path / "model", content, legacy=False)
    task = tfllm.load(folder)
    config = GenerationConfig.from_published(task.tokenizer.model_ids)
    (tmp_path / "model" / GENERATION_CONFIG_FILE).write_text(config.to_json())
    task = tfllm.load(folder)
    texts = ["The house", "  on  the hill", f"a {ADDED}b"]
    assert len(task.generate(texts, max_new_tokens=4)) == 3
    report = export(
        ExportConfig(
            folder,
            str(tmp_path / "served"),
            settings=ExportSettings(max_new_tokens=4),
        )
    )
    with SavedModel(report.folder, disable_xla=False) as model:
        served = model.run("serving_default", {"text": texts})
    for number, text in enumerate(texts):
        ((expected,),) = task.text([text], max_new_tokens=4)
        assert served["text"][number].decode() == expected.text
        count = served["lengths"][number]
        ids = served["token_ids"][number][:count].tolist()
        assert ids == expected.token_ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"legacy": "no"}, "`legacy`.*must be true or false.*'no'"),
        ({"add_bos_token": 1.5}, "`add_bos_token`.*true or false.*1.5"),
    ],
)
def test_a_config_that_is_refused(
    change: dict[str, Any],
    message: str,
    content: bytes,
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(ValueError, match=message):
        tfllm.load(write(tmp_path, content, **change))


def test_legacy_of_a_model_that_removes_spaces(tmp_path: pathlib.Path) -> None:
    content = train(model_type="bpe", byte_fallback=True, vocab_size=SIZE)
    with pytest.raises(ValueError, match="removes extra spaces.*false"):
        tfllm.load(write(tmp_path, content, legacy=False))
