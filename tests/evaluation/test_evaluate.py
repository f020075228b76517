"""Evaluation against weighted means in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.test_task import log_softmax
from tests.tasks.tiny_task import batches, dataset, model_config
from tfllm.evaluation.evaluate import evaluate
from tfllm.tasks import MaskedLM


def test_means_over_an_uneven_dataset() -> None:
    """The last batch holds one real row: it counts as one row."""
    found = batches(3)
    for weights in found[-1][2].values():
        weights[:-1] = 0
    keras.utils.set_random_seed(1)
    task = MaskedLM(model_config())
    task.compile("sgd")
    values = evaluate(task, dataset(found))
    expected = {}
    for name in ("mlm", "nsp"):
        total = loss = hits = 0.0
        for x, y, weights in found:
            logs = log_softmax(task(x, training=False)[name].numpy())
            picked = np.take_along_axis(logs, y[name][..., None], -1)[..., 0]
            loss -= (picked * weights[name]).sum()
            hits += ((logs.argmax(-1) == y[name]) * weights[name]).sum()
            total += weights[name].sum()
        expected[f"{name}_loss"] = loss / total
        expected[f"{name}_accuracy"] = hits / total
    expected["loss"] = expected["mlm_loss"] + expected["nsp_loss"]
    expected["perplexity"] = np.exp(expected["mlm_loss"])
    assert values == pytest.approx(expected, rel=1e-5)
    # What Keras' own loop says.
    own = task.evaluate(dataset(found), return_dict=True, verbose=0)
    assert own == pytest.approx(values, rel=1e-6)


def test_the_means_of_the_training_are_left_alone() -> None:
    task = MaskedLM(model_config())
    task.compile("sgd")
    task.fit(dataset(batches(2)), verbose=0, shuffle=False)
    before = [v.numpy() for m in task.metrics for v in m.variables]
    evaluate(task, dataset(batches(1)))
    after = [v.numpy() for m in task.metrics for v in m.variables]
    assert before == after
    assert any(before)


def test_an_evaluation_that_is_broken_off_leaves_the_means_alone() -> None:
    task = MaskedLM(model_config())
    task.compile("sgd")
    task.fit(dataset(batches(1)), verbose=0, shuffle=False)
    before = [v.numpy() for m in task.metrics for v in m.variables]
    calls = []

    def break_off() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(task, dataset(batches(3)), break_off)
    after = [v.numpy() for m in task.metrics for v in m.variables]
    assert before == after
    assert any(before)


def test_an_empty_dataset() -> None:
    task = MaskedLM(model_config())
    task.compile("sgd")
    empty = dataset(batches(1)).take(0)
    assert isinstance(empty, tf.data.Dataset)
    with pytest.raises(ValueError, match=r"`eval_files` .*empty"):
        evaluate(task, empty)
