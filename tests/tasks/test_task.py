"""What a task trains: exact sums, whatever the batch is split into."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks import tiny_task
from tests.tasks.tiny_task import batches, dataset, difference, train
from tfllm.learning.gradients import is_decayed
from tfllm.tasks import MaskedLM


@pytest.fixture(scope="module")
def trained() -> tuple[MaskedLM, dict[str, list[float]]]:
    return train()


def test_accumulation_is_exact(trained: Any) -> None:
    task, history = train(accumulation_steps=4)
    assert difference(trained[0], task) < 1e-5
    np.testing.assert_allclose(history["loss"], trained[1]["loss"], atol=1e-5)


@pytest.fixture(scope="module")
def on_two_replicas() -> dict[str, float]:
    return two_replicas("adamw", "evaluation", "float16", "dropout", "tagging")


@pytest.fixture(scope="module")
def more_on_two_replicas() -> dict[str, float]:
    return two_replicas(
        *("keras", "lamb", "sgd", "adafactor"),
        *("given metrics", "fgm", "freelb", "embedding"),
    )


def two_replicas(*names: str) -> dict[str, float]:
    """Returns differences from one replica, as a process of its own has them.

    Args:
        names: Keys of `tiny_task.COMPARISONS`.
    """
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.tasks.tiny_task", *names],
        cwd=root,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.dist
@pytest.mark.slow
def test_replicas_with_accumulation_are_exact(
    on_two_replicas: dict[str, float],
) -> None:
    assert on_two_replicas["adamw 2 x 2"] < 1e-5
    assert on_two_replicas["adamw loss"] < 1e-4


@pytest.mark.dist
@pytest.mark.wide
@pytest.mark.parametrize("name", ["keras", "lamb", "sgd", "adafactor"])
def test_other_optimizers_on_replicas(
    more_on_two_replicas: dict[str, float], name: str
) -> None:
    assert more_on_two_replicas[f"{name} 2 x 2"] < 1e-5
    assert more_on_two_replicas[f"{name} loss"] < 1e-4


@pytest.mark.dist
@pytest.mark.wide
@pytest.mark.parametrize(
    "name", ["fgm", "freelb", "given metrics", "embedding"]
)
def test_options_and_metrics_on_replicas(
    more_on_two_replicas: dict[str, float], name: str
) -> None:
    assert more_on_two_replicas[name] < 1e-5


@pytest.mark.dist
def test_replicas_alone_and_evaluation(
    on_two_replicas: dict[str, float],
) -> None:
    assert on_two_replicas["bert_adam 2 x 1"] < 1e-5
    assert on_two_replicas["evaluate"] < 1e-5


@pytest.mark.dist
def test_replicas_drop_other_elements(
    on_two_replicas: dict[str, float],
) -> None:
    assert on_two_replicas["dropout"] > 1e-3


@pytest.mark.dist
def test_labels_on_replicas(on_two_replicas: dict[str, float]) -> None:
    assert on_two_replicas["tagging"] < 1e-5


@pytest.mark.dist
def test_float16_on_replicas(on_two_replicas: dict[str, float]) -> None:
    assert on_two_replicas["mixed_float16 2 x 1"] < 5e-3
    assert on_two_replicas["scale"] == 119
    assert on_two_replicas["skipped"] == 0


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype("float64")
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def losses(task: MaskedLM, batch: Any) -> dict[str, float]:
    """Weighted means over a whole batch, in numpy."""
    x, y, weights = batch
    outputs = task(x, training=False)
    found = {}
    for name in ("mlm", "nsp"):
        logs = log_softmax(outputs[name].numpy())
        picked = np.take_along_axis(logs, y[name][..., None], -1)[..., 0]
        total = weights[name].sum()
        found[f"{name}_loss"] = -(picked * weights[name]).sum() / total
        hits = logs.argmax(-1) == y[name]
        found[f"{name}_accuracy"] = (hits * weights[name]).sum() / total
    found["loss"] = found["mlm_loss"] + found["nsp_loss"]
    found["perplexity"] = np.exp(found["mlm_loss"])
    return found


@pytest.mark.parametrize("accumulation_steps", [1, 4])
def test_loss_is_weighted_by_the_tokens_of_the_whole_batch(
    accumulation_steps: int,
) -> None:
    found = batches(1)
    keras.utils.set_random_seed(1)
    task = MaskedLM(tiny_task.model_config())
    expected = losses(task, found[0])
    task.compile("sgd", accumulation_steps=accumulation_steps)
    history = task.fit(dataset(found), verbose=0, shuffle=False).history
    for name, value in expected.items():
        assert history[name][0] == pytest.approx(value, abs=2e-5), name


def test_the_clip_sees_the_global_gradient() -> None:
    """Micro-batches are summed first: SGD moves by exactly rate * clip."""
    found = batches(1)
    task = MaskedLM(tiny_task.model_config())
    x, y, weights = tf.nest.map_structure(tf.constant, found[0])
    with tf.GradientTape() as tape:
        sums = task.objective_sums(y, task(x, training=True), weights)
        loss = sum(
            sums[name][0] / tf.reduce_sum(weights[name]) for name in sums
        )
    gradients = tape.gradient(loss, [v.value for v in task.trainable_variables])
    gradients = [np.asarray(tf.convert_to_tensor(g)) for g in gradients]
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    clip = 0.1 * float(norm)
    before = [v.numpy() for v in task.trainable_variables]
    task.compile(
        keras.optimizers.SGD(1.0, global_clipnorm=clip), accumulation_steps=4
    )
    task.fit(dataset(found), verbose=0, shuffle=False)
    for old, new, g in zip(
        before, task.trainable_variables, gradients, strict=True
    ):
        np.testing.assert_allclose(
            old - new.numpy(), 0.1 * g, atol=1e-6, err_msg=new.path
        )


def test_penalties() -> None:
    found = batches(1)
    moved, logged = {}, {}
    for name, options in (("none", {}), ("both", {"l1": 0.01, "l2": 0.1})):
        keras.utils.set_random_seed(1)
        task = MaskedLM(tiny_task.model_config())
        before = [v.numpy() for v in task.trainable_variables]
        task.compile(keras.optimizers.SGD(1.0), accumulation_steps=2, **options)
        logged[name] = task.fit(
            dataset(found), verbose=0, shuffle=False
        ).history["loss"][0]
        moved[name] = [v.numpy() for v in task.trainable_variables]
    penalty = 0.0
    for old, plain, both, variable in zip(
        before,
        moved["none"],
        moved["both"],
        task.trainable_variables,
        strict=True,
    ):
        expected = np.zeros_like(old)
        if is_decayed(variable):
            expected = 0.01 * np.sign(old) + 0.2 * old
            penalty += 0.01 * np.abs(old).sum() + 0.1 * (old**2).sum()
        np.testing.assert_allclose(plain - both, expected, atol=1e-6)
    assert logged["both"] - logged["none"] == pytest.approx(penalty, abs=1e-4)


def test_decay_leaves_biases_and_norms() -> None:
    """With zero weights in the loss there is nothing but decay."""
    x, y, weights = batches(1)[0]
    weights = {k: np.zeros_like(v) for k, v in weights.items()}
    task = MaskedLM(tiny_task.model_config())
    for variable in task.trainable_variables:
        variable.assign(np.ones(variable.shape, "float32"))
    optimizer = tiny_task.create(
        tiny_task.OptimizerConfig("adamw", weight_decay=0.5), 0.1
    )
    task.compile(optimizer)
    task.fit(dataset([(x, y, weights)]), verbose=0, shuffle=False)
    names = {True: set(), False: set()}
    for variable in task.trainable_variables:
        values = np.unique(variable.numpy())
        assert len(values) == 1
        names[bool(values[0] < 1)].add(variable.path.rsplit("/", 1)[-1])
        if values[0] < 1:
            assert values[0] == pytest.approx(0.95)
    assert names[False] == {"bias", "scale"}
    assert {"kernel", "token_table"} <= names[True]


def test_bfloat16_learns_nearly_the_same(trained: Any) -> None:
    task, history = train(policy="mixed_bfloat16")
    assert task.trainable_variables[0].dtype == "float32"
    assert history["loss"][0] == pytest.approx(trained[1]["loss"][0], abs=0.1)


def test_float16_scales_and_skips() -> None:
    task, history = train(policy="mixed_float16", accumulation_steps=2)
    assert np.isfinite(history["loss"][0])
    assert task.optimizer.dynamic_scale.numpy() == 2.0**15
    before = [v.numpy() for v in task.trainable_variables]
    task.optimizer.dynamic_scale.assign(2.0**120)
    task.fit(dataset(batches(1)), verbose=0, shuffle=False)
    assert task.optimizer.dynamic_scale.numpy() == 2.0**119
    for old, new in zip(before, task.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_xla_gives_the_same_losses(trained: Any) -> None:
    _, history = train(jit_compile=True)
    for name, values in history.items():
        np.testing.assert_allclose(
            values, trained[1][name], rtol=1e-4, atol=1e-4, err_msg=name
        )


# Keras 3.15 with NumPy 2, in its own loading of variables.
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_save_and_load(trained: Any, tmp_path: pathlib.Path) -> None:
    task = trained[0]
    path = tmp_path / "task.keras"
    task.save(path)
    again = keras.saving.load_model(path)
    assert difference(task, again) == 0
    assert again.evaluate(dataset(batches(2)), verbose=0) == task.evaluate(
        dataset(batches(2)), verbose=0
    )
    assert int(again.optimizer.iterations.numpy()) == tiny_task.STEPS


def test_fit_takes_arrays_and_needs_no_weights() -> None:
    """A missing weight is one."""
    x, y, weights = batches(1)[0]
    ones = {k: np.ones_like(v) for k, v in weights.items()}
    found = []
    for data in ((x, y), (x, y, ones)):
        keras.utils.set_random_seed(1)
        task = MaskedLM(tiny_task.model_config())
        task.compile("sgd")
        history = task.fit(
            *data[:2],
            sample_weight=data[2] if len(data) > 2 else None,
            batch_size=4,
            shuffle=False,
            verbose=0,
        )
        found.append(history.history["loss"][0])
    assert found[0] == found[1]


def test_an_objective_missing_in_y() -> None:
    x, y, _ = batches(1)[0]
    task = MaskedLM(tiny_task.model_config())
    task.compile("sgd")
    with pytest.raises(ValueError, match=r"labels of \['nsp'\]. .*\['mlm'\]"):
        task.fit(x, {"mlm": y["mlm"]}, batch_size=8, verbose=0)


def test_settings_that_are_not_exact() -> None:
    task = MaskedLM(tiny_task.model_config())
    with pytest.raises(ValueError, match="Received: 0"):
        task.compile("sgd", accumulation_steps=0)
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match=r"`accumulation_steps`.* Received: 2"):
        task.compile(optimizer)
    task.compile("sgd", accumulation_steps=3)
    with pytest.raises(ValueError, match=r"accumulation_steps=3, batch 8"):
        task.fit(dataset(batches(1)), verbose=0, shuffle=False)
