"""Filling masks that are spelt otherwise, with a table larger than needed."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.prediction.jobs import fill_mask_job
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.signatures.fill_mask import FillMaskServing
from tfllm.tasks import MaskedLM
from tfllm.tasks.fill_mask import FillMask
from tfllm.tokenizers import (
    ByteBPETokenizer,
    SpecialTokens,
    WordPieceTokenizer,
    load_tokenizer,
)
from tfllm.tokenizers.byte_pair_model import byte_symbols

ROLES = SpecialTokens("<pad>", "<unk>", "<s>", "</s>", "<mask>")
VOCAB = [*ROLES.all(), "the", "cat", "sat", "mat", "##s", "[", "mask", "]"]
SURPLUS = 7
TEXTS = ["the <mask> sat", "<mask> <mask>", "the cat [MASK] <mask>"]


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = WordPieceTokenizer(VOCAB, special_tokens=ROLES)
    config = FAMILIES["bert"].config(
        num_layers=1,
        hidden_size=16,
        num_heads=2,
        vocab_size=len(VOCAB) + SURPLUS,
        max_position_embeddings=16,
    )
    keras.utils.set_random_seed(0)
    task = MaskedLM(dataclasses.replace(config, **tokenizer.model_ids))
    # Ids without a token are the likeliest ones.
    (bias,) = [
        weight
        for weight in task.weights
        if weight.shape == (config.vocab_size,)
    ]
    bias.assign(np.arange(config.vocab_size) / 4)
    folder = str(tmp_path_factory.mktemp("fill_mask"))
    model_folder.save(task, folder, tokenizer)
    return folder


def ids_of(slots: list) -> list:
    return [[one["token_id"] for one in slot] for slot in slots]


def test_pipeline(folder: str) -> None:
    pipe = tfllm.pipeline("fill-mask", model=folder)
    found = pipe("the <mask> sat", top_k=99)
    assert sorted(one["token"] for one in found) == list(range(len(VOCAB)))
    assert sum(one["score"] for one in found) == pytest.approx(1.0, abs=1e-5)
    by_token = {one["token_str"]: one["sequence"] for one in found}
    assert by_token["cat"] == "the cat sat"
    first, second = pipe("<mask> the <mask>", top_k=1)
    assert first[0]["sequence"].endswith("the <mask>")
    assert second[0]["sequence"].startswith("<mask> the")
    with pytest.raises(ValueError, match=r"at least one <mask>.*\[MASK\]"):
        pipe("the [MASK] sat")
    with pytest.raises(ValueError, match="longer than the model's 16"):
        pipe("the " * 20 + "<mask>")
    with pytest.raises(ValueError, match="input 1 .*surrogate pair"):
        pipe(["<mask>", "\ud800 <mask>"])


def test_export_answers_as_python(folder: str) -> None:
    task = model_folder.load(folder)
    tokenizer = load_tokenizer(folder, mask_in_text=True)
    assert isinstance(tokenizer, WordPieceTokenizer)
    settings = ExportSettings(top_k=99)
    served = FillMaskServing(task, tokenizer, settings)
    answer = served.from_text(tf.constant(TEXTS))
    expected = FillMask(task, tokenizer, 99)(TEXTS)
    assert answer["num_masks"].numpy().tolist() == [1, 2, 1]
    for row, slots in enumerate(expected):
        found = answer["token_ids"].numpy()[row, : len(slots)]
        assert found.tolist() == ids_of(slots)
        assert found.max() < len(VOCAB)
    check = served.checks()[0]
    for expected_ids in (row["token_ids"] for row in check.expected):
        assert expected_ids.max(initial=0) < len(VOCAB)


def test_predict_lines(folder: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("the <mask> sat\n")
    job = fill_mask_job(model_folder.load(folder), folder, [str(path)], 3)
    (result,) = job.predict(list(job.items))
    assert len(result["masks"][0]) == 3
    assert job.show is not None
    assert "<mask>: " in job.show(result)


def test_a_tokenizer_without_a_mask(tmp_path: pathlib.Path) -> None:
    ByteBPETokenizer(byte_symbols(), []).save(str(tmp_path))
    with pytest.raises(ValueError, match="must have a mask token"):
        load_tokenizer(str(tmp_path), mask_in_text=True)
