"""Losses and measures of the tasks with labels, against numpy."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.tasks import labelled
from tfllm import tasks
from tfllm.learning.embedding_shifts import real_tokens
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.label_names import check_labels


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sums_of(
    task: Any, y: np.ndarray, outputs: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    found = task.objective_sums(
        {task.kind: tf.constant(y)},
        {task.kind: tf.constant(outputs, tf.float32)},
        {task.kind: tf.constant(weights, tf.float32)},
    )
    assert set(found) == {task.kind}
    return tuple(float(value) for value in found[task.kind])


def divergence_of(task: Any, one: Any, other: Any, weights: Any) -> float:
    parts = [tf.constant(v, tf.float32) for v in (one, other, weights)]
    found = task.divergence_sums(*({task.kind: part} for part in parts))
    return float(found[task.kind])


def test_label_smoothing_and_its_gradient() -> None:
    """As cross-entropy with the smoothed distribution as target."""
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(6, 5)), tf.float32)
    labels = rng.integers(0, 5, 6).astype("int32")
    weights = tf.constant(rng.uniform(0, 2, 6), tf.float32)
    targets = 0.8 * np.eye(5)[labels] + 0.2 / 5
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        loss, hits = cross_entropy_sums(labels, logits, weights, 0.2)
        each = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        expected = tf.reduce_sum(weights * each)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(
        tape.gradient(loss, logits), tape.gradient(expected, logits), atol=1e-6
    )
    plain = cross_entropy_sums(labels, logits, weights)[1]
    assert float(hits) == float(plain)


def test_multi_label() -> None:
    task = labelled.create("multi_label", "bert", label_smoothing=0.2)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (4, 3)).astype("float32")
    logits, weights = rng.normal(size=(4, 3)), rng.uniform(0, 2, 4)
    p = 1 / (1 + np.exp(-logits))
    target = 0.8 * y + 0.1
    each = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean(1)
    right = ((p > 0.5) == (y > 0.5)).mean(1)
    found = sums_of(task, y, logits, weights)
    expected = ((each * weights).sum(), (right * weights).sum())
    assert found == pytest.approx(expected, rel=1e-5)


def test_regression() -> None:
    task = labelled.create("regression", "bert")
    y, values = np.array([1.0, 3.0], "float32"), np.array([2.0, 1.0])
    found = sums_of(task, y, values, np.array([1.0, 0.5]))
    assert found == pytest.approx((1.0 + 2.0, 1.0 + 1.0))
    assert task.metrics_names == [
        "loss",
        "regression_loss",
        "regression_error",
    ]
    assert divergence_of(task, values, y, [1.0, 0.5]) == pytest.approx(3.0)


def test_contrastive_embedding() -> None:
    """Every second and later sequence of the batch is a candidate."""
    settings = {"loss": "contrastive", "temperature": 0.5}
    task = labelled.create("embedding", "bert", **settings)
    rng = np.random.default_rng(0)
    vectors, weights = rng.normal(size=(4, 3, 16)), rng.uniform(0, 2, 4)
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    scores = unit[:, 0] @ unit[:, 1:].reshape(8, 16).T / 0.5
    own = np.arange(4) * 2
    each = -np.log(softmax(scores)[np.arange(4), own])
    found = sums_of(task, np.zeros(4, "int32"), vectors, weights)
    expected = (
        (each * weights).sum(),
        ((scores.argmax(1) == own) * weights).sum(),
    )
    assert found == pytest.approx(expected, rel=1e-5)
    other = rng.normal(size=(4, 3, 16))
    assert divergence_of(task, vectors, vectors, weights) == 0
    assert divergence_of(task, vectors, other, weights) > 0
    with pytest.raises(ValueError, match=r"\[B, K, T\].*\(4, 16\)"):
        sums_of(task, np.zeros(4, "int32"), vectors[:, 0], weights)


def test_similarity_of_embeddings() -> None:
    task = labelled.create("embedding", "bert")
    vectors = np.zeros((2, 2, 16))
    vectors[0, :, 0] = 3.0, 2.0
    vectors[1, 0, 0] = vectors[1, 1, 1] = 5.0
    y = np.array([0.5, 0.1], "float32")
    found = sums_of(task, y, vectors, np.array([1.0, 2.0]))
    assert found == pytest.approx((0.25 + 0.02, 0.5 + 0.2), rel=1e-5)
    turned = vectors[:, :, ::-1].copy()
    turned[0, 1] = vectors[1, 1]
    assert divergence_of(task, vectors, turned, [1.0, 2.0]) == pytest.approx(1)


def test_divergence_of_labels_told_one_by_one() -> None:
    """The mean over the labels of that of two Bernoulli distributions."""
    task = labelled.create("multi_label", "bert")
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 4, 3))
    pairs = [
        softmax(np.stack([np.zeros_like(x), x], axis=-1)) for x in (one, other)
    ]
    p, q = pairs
    each = 0.5 * ((p - q) * (np.log(p) - np.log(q))).sum(-1).mean(1)
    weights = rng.uniform(0, 2, 4)
    found = divergence_of(task, one, other, weights)
    assert found == pytest.approx((each * weights).sum(), rel=1e-5)


def test_the_loss_of_spans_is_the_mean_of_both() -> None:
    task = labelled.create("question_answering", "bert")
    task.compile("sgd")
    x, y, _ = labelled.batch("question_answering")
    logs = task.evaluate(x, y, verbose=0, return_dict=True)
    expected = (logs["start_loss"] + logs["end_loss"]) / 2
    assert logs["loss"] == pytest.approx(expected)
    # No probability where no answer may be.
    start = softmax(task(x)["start"].numpy())
    assert (start[x["answer_mask"] == 0] == 0).all()


def test_choices_that_there_are_not() -> None:
    """Loss, smoothing and gradient are those of the choices there are."""
    task = labelled.create("multiple_choice", "bert", label_smoothing=0.2)
    x, _, _ = labelled.batch("multiple_choice")
    x["choice_mask"] = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1]])
    labels, weights = np.array([2, 0, 1, 1]), np.array([1.0, 0.5, 2.0, 0.0])
    logits = task(x)["multiple_choice"].numpy().astype("float64")
    expected = 0.0
    slopes = np.zeros_like(logits)
    for row, count in enumerate([3, 2, 2, 3]):
        target = np.full(count, 0.2 / count)
        target[labels[row]] += 0.8
        probabilities = softmax(logits[row, :count])
        expected -= weights[row] * (target * np.log(probabilities)).sum()
        slopes[row, :count] = weights[row] * (probabilities - target)
    variable = tf.Variable(logits, dtype=tf.float32)
    name = "multiple_choice"
    with tf.GradientTape() as tape:
        loss, _ = task.objective_sums(
            {name: tf.constant(labels, tf.int32)},
            {name: tf.identity(variable)},
            {name: tf.constant(weights, tf.float32)},
        )[name]
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    found = tape.gradient(loss, variable)
    np.testing.assert_allclose(found, slopes, atol=1e-6)
    # Nor are there their tokens, for what shifts embeddings.
    real = real_tokens(x).numpy().sum(axis=(2, 3)) > 0
    np.testing.assert_array_equal(real, x["choice_mask"] > 0)


@pytest.mark.parametrize("name", ["classification", "embedding"])
def test_padding_on_the_left_of_a_decoder(name: str) -> None:
    task = labelled.create(name, "gpt2")
    x = labelled.batch(name)[0]
    lengths = x["padding_mask"].sum(-1)

    def left(value: np.ndarray) -> np.ndarray:
        rows = zip(
            value.reshape(-1, labelled.LENGTH), lengths.flat, strict=True
        )
        moved = [np.roll(row, labelled.LENGTH - n) for row, n in rows]
        return np.stack(moved).reshape(value.shape)

    expected = task(x)[name].numpy()
    found = task({k: left(v) for k, v in x.items()})[name].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("clasification", {}, "`task`.*'clasification'.*'classification'"),
        ("classification", {}, r"`labels` must be at least 2 .*\[\]"),
        ("classification", {"labels": ["a", "a"]}, r"twice: \['a'\]"),
        ("tagging", {"labels": "OBI"}, "`labels` must be names.*'OBI'"),
        ("tagging", {"labels": ["O", ""]}, "`labels` must be names"),
        (
            "multiple_choice",
            {"label_smoothing": 1.0},
            r"`label_smoothing`.*1\.0",
        ),
        (
            "regression",
            {"labels": ["a", "b"]},
            r"'regression' has one label.*\['a', 'b'\]",
        ),
        ("embedding", {"loss": "triplet"}, "`loss`.*'triplet'"),
        ("embedding", {"pooling": "middle"}, "`pooling`.*'middle'"),
        ("embedding", {"temperature": 0.0}, "`temperature`.*0"),
    ],
)
def test_settings_that_cannot_be(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tasks.create(name, labelled.model_config("bert"), **settings)


def test_the_first_token_of_a_decoder_is_no_embedding() -> None:
    with pytest.raises(ValueError, match="`pooling`.*decoder"):
        labelled.create("embedding", "gpt2", pooling="cls")


def test_labels_stay_in_order() -> None:
    assert check_labels(["b", "a"]) == ("b", "a")
