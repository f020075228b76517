"""What every task with labels must do, on every family."""

import json
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks import labelled
from tfllm import tasks
from tfllm.interop import model_folder
from tfllm.tasks.read_batch import read_batch

PARAMS = [
    pytest.param(tuple(one.values), marks=one.marks, id=one.id)
    for one in labelled.PARAMS
]


@pytest.fixture(scope="module", params=PARAMS)
def case(request: Any) -> tuple[str, Any]:
    name, family = request.param
    task = labelled.create(name, family)
    task.compile("sgd")
    return name, task


def outputs_of(task: Any, x: dict[str, Any]) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in task(x).items()}


def assert_close(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray], atol: float
) -> None:
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_allclose(
            value, second[name], atol=atol, rtol=0, err_msg=name
        )


def test_every_task_with_labels_is_here() -> None:
    with_labels = {k for k, task in tasks.TASKS.items() if task.is_labelled}
    assert set(labelled.SETTINGS) == with_labels


def test_shapes_and_kind(case: Any) -> None:
    name, task = case
    b, t, c = labelled.ROWS, labelled.LENGTH, labelled.CHOICES
    n, d = len(labelled.LABELS), task.config.hidden_size
    expected = {
        "classification": {"classification": (b, n)},
        "multi_label": {"multi_label": (b, n)},
        "regression": {"regression": (b,)},
        "tagging": {"tagging": (b, t, n)},
        "question_answering": {"start": (b, t), "end": (b, t)},
        "embedding": {"embedding": (b, c, d)},
        "multiple_choice": {"multiple_choice": (b, c)},
    }
    found = outputs_of(task, labelled.batch(name)[0])
    assert {k: v.shape for k, v in found.items()} == expected[name]
    assert {v.dtype for v in found.values()} == {np.dtype("float32")}
    assert task.kind == name


def test_every_weight_has_a_finite_gradient(case: Any) -> None:
    name, task = case
    x, y, weights = labelled.batch(name)
    variables = task.trainable_variables
    with tf.GradientTape() as tape:
        sums = task.objective_sums(y, task(x, training=True), weights)
        loss = tf.add_n([loss for loss, _ in sums.values()])
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all(), variable.path
        # A softmax over choices or positions does not see what they share.
        shared = variable.path.endswith(
            ("choice_classifier/bias", "span_classifier/bias")
        )
        assert shared or gradient.any(), variable.path


def test_padding_changes_nothing(case: Any) -> None:
    name, task = case
    x = labelled.batch(name)[0]
    expected = outputs_of(task, x)
    junk = dict(x)
    for key, value in (("token_ids", 7), ("segment_ids", 1)):
        junk[key] = np.where(x["padding_mask"] == 0, value, x[key])
    longer = {
        key: np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, 3)])
        for key, v in x.items()
    }
    real = x["padding_mask"].astype(bool)
    for changed in (junk, longer):
        found = outputs_of(task, changed)
        for key, value in found.items():
            ours, theirs = value, expected[key]
            if name in ("tagging", "question_answering"):
                ours, theirs = ours[:, : labelled.LENGTH][real], theirs[real]
            np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


def test_batch_of_one_equals_a_row(case: Any) -> None:
    name, task = case
    x = labelled.batch(name)[0]
    whole = outputs_of(task, x)
    for i in range(labelled.ROWS):
        one = outputs_of(task, {k: v[i : i + 1] for k, v in x.items()})
        assert_close(one, {k: v[i : i + 1] for k, v in whole.items()}, 1e-5)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_folder_and_keras_file(case: Any, tmp_path: pathlib.Path) -> None:
    name, task = case
    x = labelled.batch(name)[0]
    model_folder.save(task, tmp_path)
    again = model_folder.load(tmp_path)
    assert again.kind == name
    assert again.get_config() | {"name": ""} == task.get_config() | {"name": ""}
    assert_close(outputs_of(again, x), outputs_of(task, x), 0.0)
    values = json.loads((tmp_path / "config.json").read_text())
    assert not {"labels", "problem"} & set(values["tfllm"])
    task.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras", compile=False)
    assert again.get_config() == task.get_config()
    assert_close(outputs_of(again, x), outputs_of(task, x), 0.0)


def test_any_shape_in_one_saved_model(
    case: Any, tmp_path: pathlib.Path
) -> None:
    name, task = case
    x = labelled.batch(name)[0]
    signature = {
        key: tf.TensorSpec([None] * v.ndim, tf.int32, name=key)
        for key, v in x.items()
    }
    module = tf.Module()
    module.variables_of_task = [v.value for v in task.variables]
    module.serve = tf.function(task.call, input_signature=[signature])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    found = loaded.serve({k: tf.constant(v) for k, v in x.items()})
    assert_close(
        {k: v.numpy() for k, v in found.items()}, outputs_of(task, x), 1e-5
    )


@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")
def test_mixed_precision(case: Any) -> None:
    name, task = case
    low = labelled.create(name, task.config.family, dtype="mixed_bfloat16")
    low.set_weights(task.get_weights())
    x = labelled.batch(name)[0]
    found, expected = outputs_of(low, x), outputs_of(task, x)
    assert {v.dtype for v in found.values()} == {np.dtype("float32")}
    assert_close(found, expected, atol=0.2)


def test_fit_learns_and_accumulation_is_exact(case: Any) -> None:
    name, task = case
    data = tf.data.Dataset.from_tensors(labelled.batch(name)).repeat(4)
    trained = []
    for steps in (1, 2):
        one = labelled.create(name, task.config.family)
        one.compile(keras.optimizers.SGD(0.03), accumulation_steps=steps)
        trained.append((one, one.fit(data, verbose=0, shuffle=False).history))
    (first, history), (second, again) = trained
    for a, b in zip(first.weights, second.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)
    for key, value in history.items():
        np.testing.assert_allclose(value, again[key], atol=1e-5)
    # The mean over the steps is below the loss before them.
    before = task.evaluate(data.take(1), verbose=0, return_dict=True)
    assert history["loss"][0] < before["loss"]


def test_a_row_without_weight_does_not_count(case: Any) -> None:
    name, task = case
    x, y, weights = labelled.batch(name)
    weights = {k: v.copy() for k, v in weights.items()}
    for value in weights.values():
        value[-1] = 0.0
    rest = [{k: v[:-1] for k, v in part.items()} for part in (x, y, weights)]
    found, expected = (
        task.evaluate(*data[:2], sample_weight=data[2], verbose=0)
        for data in ((x, y, weights), rest)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_that_are_missing_are_one(case: Any) -> None:
    name, task = case
    x, y, weights = labelled.batch(name)
    _, _, found = read_batch(task, (x, y))
    assert {k: v.shape for k, v in found.items()} == {
        k: v.shape for k, v in weights.items()
    }
    # Padding has no tags.
    expected = x["padding_mask"] if name == "tagging" else 1.0
    for value in found.values():
        np.testing.assert_array_equal(
            value, np.broadcast_to(expected, value.shape)
        )
