"""FGM and FreeLB against loops in eager mode, and R-Drop."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks import tiny_task
from tests.tasks.tiny_task import batches, dataset, difference, train
from tfllm.learning.divergence import symmetric_divergence_sum
from tfllm.learning.embedding_shifts import random_shift
from tfllm.learning.methods import Adversarial, RDrop
from tfllm.models import FAMILIES
from tfllm.tasks import CausalLM, MaskedLM

FGM = Adversarial("fgm", epsilon=2.0)
FREELB = Adversarial(
    "freelb", epsilon=0.3, steps=3, step_size=0.2, start_size=0.0
)
BATCH = batches(1)


def new_task(dropout: float = 0.0) -> MaskedLM:
    keras.utils.set_random_seed(1)
    return MaskedLM(tiny_task.model_config(dropout))


def gradients_at(task: MaskedLM, shift: np.ndarray) -> tuple[list, np.ndarray]:
    """Gradients of the weights and of a shift of the token embeddings."""
    x, y, weights = tf.nest.map_structure(tf.constant, BATCH[0])
    shift = tf.constant(shift, tf.float32)
    variables = [v.value for v in task.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(shift)
        with task.model.transformer.embeddings.shifted(shift):
            outputs = task(x, training=True)
        sums = task.objective_sums(y, outputs, weights)
        loss = sum(
            sums[name][0] / tf.reduce_sum(weights[name]) for name in sums
        )
    *found, slope = tape.gradient(loss, [*variables, shift])
    return [np.asarray(tf.convert_to_tensor(g)) for g in found], slope.numpy()


def norm(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x**2).sum(axis=(1, 2), keepdims=True))


def fgm(task: MaskedLM) -> list[np.ndarray]:
    mask = BATCH[0][0]["padding_mask"][:, :, None]
    gradients, slope = gradients_at(task, np.zeros((8, 8, 16)))
    slope = slope * mask
    others, _ = gradients_at(task, FGM.epsilon * slope / norm(slope))
    return [a + b for a, b in zip(gradients, others, strict=True)]


def freelb(task: MaskedLM) -> list[np.ndarray]:
    mask = BATCH[0][0]["padding_mask"][:, :, None]
    shift = np.zeros((8, 8, 16))
    total: Any = 0.0
    for _ in range(FREELB.steps):
        gradients, slope = gradients_at(task, shift)
        total = (
            [g / FREELB.steps for g in gradients]
            if total == 0.0
            else [
                a + g / FREELB.steps
                for a, g in zip(total, gradients, strict=True)
            ]
        )
        slope = slope * mask
        shift = shift + FREELB.step_size * slope / norm(slope)
        shift = shift * np.minimum(1.0, FREELB.epsilon / norm(shift))
    return total


@pytest.mark.parametrize(
    ("config", "reference"), [(FGM, fgm), (FREELB, freelb)], ids=["fgm", "lb"]
)
@pytest.mark.parametrize("accumulation_steps", [1, 4])
def test_gradients(
    config: Adversarial, reference: Any, accumulation_steps: int
) -> None:
    """SGD without anything else moves by the gradient."""
    expected = reference(new_task())
    task = new_task()
    before = [v.numpy() for v in task.trainable_variables]
    task.compile(
        keras.optimizers.SGD(1.0),
        adversarial=config,
        accumulation_steps=accumulation_steps,
        # A loop of micro-batches is traced as in a run.
        run_eagerly=accumulation_steps == 1,
    )
    task.fit(dataset(BATCH), verbose=0, shuffle=False)
    plain, _ = gradients_at(new_task(), np.zeros((8, 8, 16)))
    apart = 0.0
    for old, variable, gradient, other in zip(
        before, task.trainable_variables, expected, plain, strict=True
    ):
        np.testing.assert_allclose(
            old - variable.numpy(), gradient, atol=2e-6, err_msg=variable.path
        )
        apart = max(apart, np.abs(gradient - other).max())
    assert apart > 1e-3


def test_the_shifted_batch_is_harder() -> None:
    task = new_task()
    mask = BATCH[0][0]["padding_mask"][:, :, None]
    _, slope = gradients_at(task, np.zeros((8, 8, 16)))
    found = []
    for size in (0.0, 0.5):
        x, y, weights = BATCH[0]
        with task.model.transformer.embeddings.shifted(
            tf.constant(size * slope * mask / norm(slope), tf.float32)
        ):
            sums = task.objective_sums(y, task(x), weights)
        found.append(float(sums["mlm"][0] + sums["nsp"][0]))
    assert found[1] > found[0] + 0.01
    # Outside of the block nothing is shifted.
    sums = task.objective_sums(y, task(x), weights)
    assert float(sums["mlm"][0] + sums["nsp"][0]) == found[0]


def test_random_start_is_bounded_exact_and_a_function_of_the_seed() -> None:
    config = Adversarial("freelb", steps=2, start_size=0.5)
    mask = tf.constant(BATCH[0][0]["padding_mask"], tf.float32)[..., None]
    starts = [
        random_shift(mask, 16, tf.constant([1, s]), config.start_size)
        for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.abs(starts[0] - starts[2]).max() > 0
    assert np.all(norm(starts[0].numpy()) <= 0.5)
    assert np.all(norm(starts[0].numpy()) > 0.1)
    assert not np.any(starts[0].numpy() * (1 - mask.numpy()))
    # Drawn for the whole batch: the split makes no difference.
    one, _ = train(adversarial=config, found=batches(3))
    four, _ = train(adversarial=config, accumulation_steps=4, found=batches(3))
    assert difference(one, four) < 1e-5


def test_all_passes_drop_the_same() -> None:
    """A tiny shift changes nothing: FGM's gradient is twice the plain one."""
    steps = {}
    for name, config in (
        ("plain", None),
        ("fgm", Adversarial("fgm", epsilon=1e-6)),
    ):
        task = new_task(dropout=0.3)
        before = [v.numpy() for v in task.trainable_variables]
        task.compile(
            keras.optimizers.SGD(1.0), adversarial=config, run_eagerly=True
        )
        # The seeds of compile come after those of the model.
        task.fit(dataset(BATCH), verbose=0, shuffle=False)
        steps[name] = [
            a - v.numpy()
            for a, v in zip(before, task.trainable_variables, strict=True)
        ]
    for one, two in zip(steps["plain"], steps["fgm"], strict=True):
        np.testing.assert_allclose(2 * one, two, atol=1e-4)


def test_r_drop_is_the_mean_loss_and_the_divergence() -> None:
    """Against the same two passes in eager mode."""
    x, y, weights = tf.nest.map_structure(tf.constant, BATCH[0])
    task = new_task(dropout=0.3)
    variables = [v.value for v in task.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = [task(x, training=True) for _ in range(2)]
        losses = tf.zeros(())
        for name in task.objectives:
            logs = [tf.nn.log_softmax(o[name]) for o in outputs]
            total = tf.reduce_sum(weights[name])
            for p, q in (logs, logs[::-1]):
                hit = tf.gather(p, y[name], batch_dims=y[name].shape.rank)
                losses -= 0.5 * tf.reduce_sum(hit * weights[name]) / total
                apart = tf.reduce_sum(tf.exp(p) * (p - q), axis=-1)
                losses += (
                    0.7 * 0.5 * (tf.reduce_sum(apart * weights[name]) / total)
                )
    expected = tape.gradient(losses, variables)
    task = new_task(dropout=0.3)
    before = [v.numpy() for v in task.trainable_variables]
    task.compile(keras.optimizers.SGD(1.0), r_drop=0.7, run_eagerly=True)
    task.fit(dataset(BATCH), verbose=0, shuffle=False)
    for old, variable, gradient in zip(
        before, task.trainable_variables, expected, strict=True
    ):
        np.testing.assert_allclose(
            old - variable.numpy(),
            tf.convert_to_tensor(gradient),
            atol=2e-6,
            err_msg=variable.path,
        )


def test_r_drop_without_dropout_changes_nothing() -> None:
    plain, history = train(found=batches(2))
    dropped, again = train(found=batches(2), r_drop=1.0, accumulation_steps=2)
    assert difference(plain, dropped) < 1e-5
    np.testing.assert_allclose(history["loss"], again["loss"], atol=1e-5)


def test_divergence_of_hidden_classes_is_finite() -> None:
    one = tf.constant([[1.0, 2.0, -1e9], [0.0, 0.0, 0.0]])
    other = tf.constant([[2.0, 1.0, -1e9], [3.0, 0.0, 0.0]])
    value = symmetric_divergence_sum(one, other, tf.constant([1.0, 0.0]))
    p = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    assert float(value) == pytest.approx((p[1] - p[0]) * 1.0, abs=1e-6)


def test_both_together_with_float16_and_a_decoder() -> None:
    task, history = train(
        policy="mixed_float16",
        found=batches(2),
        dropout=0.1,
        r_drop=1.0,
        adversarial=Adversarial("freelb"),
    )
    assert np.isfinite(history["loss"][0])
    keras.utils.set_random_seed(1)
    decoder = CausalLM(
        FAMILIES["gpt2"].config(
            num_layers=1, hidden_size=16, num_heads=2, vocab_size=16
        )
    )
    decoder.compile("sgd", adversarial=FGM, r_drop=1.0, run_eagerly=True)
    ids = np.arange(16, dtype="int32").reshape(2, 8)
    history = decoder.fit(
        {"token_ids": ids}, {"clm": ids}, batch_size=2, verbose=0
    )
    assert np.isfinite(history.history["loss"][0])


# Keras 3.15 with NumPy 2, in its own loading of variables.
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_save_and_load(tmp_path: pathlib.Path) -> None:
    config = dataclasses.replace(FREELB, steps=1)
    task, _ = train(found=batches(2), adversarial=config, r_drop=0.5)
    # A file of Keras has no random states; a checkpoint of a run does.
    assert any("seed_generator_state" in v.path for v in task.variables)
    task.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    assert again.settings == task.settings
    assert again.settings.methods == (config, RDrop(0.5))
    for one in (task, again):
        one.fit(dataset(batches(2)), verbose=0, shuffle=False)
    assert difference(task, again) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "pgd"}, r"one of \['none', 'fgm', 'freelb'\].*'pgd'"),
        ({"kind": "fgm", "epsilon": 0.0}, "`adversarial_epsilon` must be po"),
        (
            {"kind": "freelb", "epsilon": -1.0},
            "`adversarial_epsilon` must not be neg",
        ),
        ({"kind": "freelb", "steps": 0}, "`adversarial_steps` .*Received: 0"),
        ({"kind": "freelb", "step_size": 0.0}, "`adversarial_step_size`"),
    ],
)
def test_wrong_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adversarial(**settings)
