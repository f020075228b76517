"""Loading as a kind of task, and with its tokenizer."""

import json
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tests.interop.small_folder import (
    SPECIALS,
    assert_same_weights,
    tensors_of,
    write_tensors,
)
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import WordPieceTokenizer


@pytest.fixture
def tokenizer(task: MaskedLM) -> WordPieceTokenizer:
    words = [f"w{i}" for i in range(task.config.vocab_size - len(SPECIALS))]
    return WordPieceTokenizer([*SPECIALS, *words])


def without_class(folder: pathlib.Path) -> None:
    """Makes a folder of others that does not say what it is for."""
    config = json.loads((folder / "config.json").read_text())
    del config["tfllm"], config["architectures"]
    (folder / "config.json").write_text(json.dumps(config))


def test_a_task_has_its_tokenizer(
    task: MaskedLM, tokenizer: WordPieceTokenizer, tmp_path: pathlib.Path
) -> None:
    tfllm.save(task, tmp_path / "bare")
    assert tfllm.load(tmp_path / "bare").tokenizer is None
    tfllm.save(task, tmp_path / "one", tokenizer)
    loaded = tfllm.load(tmp_path / "one")
    assert loaded.tokenizer.vocab == tokenizer.vocab
    # It goes with the task.
    tfllm.save(loaded, tmp_path / "two")
    again = tfllm.load(tmp_path / "two")
    assert again.tokenizer.vocab == tokenizer.vocab
    assert_same_weights(task, again)
    other = WordPieceTokenizer(tokenizer.vocab, lowercase=False)
    given = tfllm.load(tmp_path / "one", tokenizer=other)
    assert given.tokenizer is other


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_keras_does_not_track_a_tokenizer(
    saved: pathlib.Path, tokenizer: WordPieceTokenizer, tmp_path: pathlib.Path
) -> None:
    task = tfllm.load(saved)

    def names(path: pathlib.Path) -> list[str]:
        saver = tf.train.Checkpoint(model=task)
        return [name for name, _ in tf.train.list_variables(saver.save(path))]

    before = names(tmp_path / "before")
    count = len(task.variables)
    task.tokenizer = tokenizer
    assert len(task.variables) == count
    assert [layer.name for layer in task.layers] == ["model"]
    assert names(tmp_path / "after") == before
    assert "tokenizer" not in task.get_config()
    task.save(tmp_path / "task.keras")
    assert_same_weights(task, keras.models.load_model(tmp_path / "task.keras"))


def test_a_tokenizer_that_does_not_fit(
    saved: pathlib.Path, tokenizer: WordPieceTokenizer, tmp_path: pathlib.Path
) -> None:
    task = tfllm.load(saved)
    tfllm.save(task, tmp_path)
    larger = WordPieceTokenizer([*tokenizer.vocab, "more"])
    larger.save(str(tmp_path))
    with pytest.raises(ValueError, match=r"tokenizer in .*53.*54 tokens"):
        tfllm.load(tmp_path)


def test_other_kinds(saved: pathlib.Path, task: MaskedLM) -> None:
    vectors = tfllm.load(saved, kind="embedding")
    assert vectors.kind == "embedding"
    ids = np.array([[5, 6, 7]], "int32")
    np.testing.assert_array_equal(
        vectors.model.transformer(ids), task.model.transformer(ids)
    )
    same = tfllm.load(saved, kind="masked_lm")
    assert_same_weights(task, same)
    with pytest.raises(
        ValueError,
        match=r"Received: 'classification', without classifier\.bias.*`partial",
    ):
        tfllm.load(saved, kind="classification", labels=("a", "b"))
    fresh = tfllm.load(
        saved, kind="classification", partial=True, labels=("a", "b")
    )
    assert fresh.labels == ("a", "b")
    np.testing.assert_array_equal(
        fresh.model.transformer(ids), task.model.transformer(ids)
    )


def test_a_number_has_one_label(
    saved: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    fresh = tfllm.load(saved, kind="regression", partial=True)
    assert fresh.labels == ("LABEL_0",)
    classifier = tfllm.load(
        saved, kind="classification", partial=True, labels=("a", "b")
    )
    tfllm.save(classifier, tmp_path)
    fresh = tfllm.load(tmp_path, kind="regression", partial=True)
    assert fresh.labels == ("LABEL_0",)
    with pytest.raises(ValueError, match=r"'regression', without classifier\."):
        tfllm.load(tmp_path, kind="regression")
    with pytest.raises(ValueError, match=r"one label.*\['a', 'b'\]"):
        tfllm.load(tmp_path, kind="regression", partial=True, labels=("a", "b"))


@pytest.mark.parametrize(
    ("kind", "near"),
    [("clasification", "classification"), ("causal_lm", "masked_lm")],
)
def test_unknown_kinds(saved: pathlib.Path, kind: str, near: str) -> None:
    with pytest.raises(ValueError, match="`kind` must be one of .*'embedding'"):
        tfllm.load(saved, kind=kind)
    with pytest.raises(ValueError, match=f"mean '{near}'"):
        tfllm.load(saved, kind=kind)


def test_a_folder_that_does_not_say_its_kind(
    folder: pathlib.Path, task: MaskedLM
) -> None:
    without_class(folder)
    assert_same_weights(task, tfllm.load(folder))
    without_head = tensors_of(folder)
    write_tensors(
        folder, {k: v for k, v in without_head.items() if "bert." in k}
    )
    with pytest.raises(ValueError, match="Give `kind`: 'embedding'") as error:
        tfllm.load(folder)
    for kind in ("classification", "masked_lm", "tagging"):
        assert repr(kind) in str(error.value)
    assert "causal_lm" not in str(error.value)
    assert tfllm.load(folder, kind="embedding").kind == "embedding"
    options: dict[str, Any] = {"partial": True, "labels": ("O", "B-X")}
    assert tfllm.load(folder, kind="tagging", **options).kind == "tagging"
