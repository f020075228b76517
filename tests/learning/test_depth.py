"""Learning rates by depth, and parts that do not learn."""

import pathlib
import re
from typing import Any

import keras
import numpy as np
import pytest

from tests.tasks import tiny_task
from tests.tasks.tiny_task import batches, dataset, difference
from tfllm.learning.optimizers import OptimizerConfig, create
from tfllm.models import FAMILIES
from tfllm.tasks import CausalLM, MaskedLM

DECAY = 0.5


def task_of_two_blocks() -> MaskedLM:
    keras.utils.set_random_seed(1)
    return MaskedLM(
        FAMILIES["bert"].config(
            num_layers=2,
            hidden_size=16,
            num_heads=2,
            vocab_size=tiny_task.VOCABULARY,
            max_position_embeddings=tiny_task.LENGTH,
            dropout=0.0,
        )
    )


def part_of(path: str) -> str:
    """The part of the model that a variable's path names."""
    match = re.search(r"/(embeddings|block_\d)/", path)
    return match[1] if match else "head"


def moved(optimizer: str, **options: Any) -> dict[str, np.ndarray]:
    """How far one eager step moves each weight, by its path."""
    task = task_of_two_blocks()
    before = {v.path: v.numpy() for v in task.trainable_variables}
    config = OptimizerConfig(optimizer, weight_decay=0.5)
    task.compile(create(config, 0.1), run_eagerly=True, **options)
    task.fit(dataset(batches(1)), verbose=0, shuffle=False)
    after = {v.path: v.numpy() for v in task.variables}
    return {path: after[path] - before[path] for path in before}


@pytest.mark.parametrize("optimizer", ["adamw", "bert_adam", "lamb", "sgd"])
def test_a_step_is_smaller_by_the_decay_per_layer(optimizer: str) -> None:
    """The first step of each is linear in the rate, weight decay and all."""
    expected = {
        "head": 1.0,
        "block_1": DECAY,
        "block_0": DECAY**2,
        "embeddings": DECAY**3,
    }
    plain = moved(optimizer)
    decayed = moved(optimizer, layer_decay=DECAY)
    seen = set()
    for path, step in plain.items():
        part = part_of(path)
        seen.add(part)
        np.testing.assert_allclose(
            decayed[path], expected[part] * step, atol=3e-7, err_msg=path
        )
        assert np.abs(step).max() > 1e-5
    assert seen == set(expected)


def test_frozen_parts_stay_and_the_rest_learns_as_before() -> None:
    """Gradients are not clipped here: the norm is of what learns."""
    kept = moved("sgd", freeze="embeddings, 0")
    for path, step in kept.items():
        assert (np.abs(step).max() > 0) == (
            part_of(path) not in ("embeddings", "block_0")
        ), path
    head_only = moved("sgd", freeze="transformer")
    moving = {part_of(p) for p, s in head_only.items() if np.abs(s).max() > 0}
    assert moving == {"head"}
    assert all(
        np.abs(s).max() == 0
        for p, s in moved("sgd", freeze="0-1").items()
        if part_of(p).startswith("block")
    )


def moving_parts(task: Any) -> set[str]:
    """The parts of a task that learn in a step of `fit`."""
    before = {v.path: v.numpy() for v in task.weights}
    task.fit(dataset(batches(1)), verbose=0, shuffle=False)
    after = {v.path: v.numpy() for v in task.weights}
    return {
        part_of(path)
        for path, value in before.items()
        if np.abs(after[path] - value).max() > 0
    }


def test_what_is_not_named_any_more_learns_again() -> None:
    everything = {"embeddings", "block_0", "block_1", "head"}
    task = task_of_two_blocks()
    eagerly = {"run_eagerly": True}
    task.compile("sgd", freeze="transformer", **eagerly)
    assert moving_parts(task) == {"head"}
    # Twice, and one that overlaps the others.
    task.compile("sgd", freeze="transformer,0", **eagerly)
    assert moving_parts(task) == {"head"}
    with pytest.raises(ValueError, match="Received: '7'"):
        task.compile("sgd", freeze="embeddings,7")
    assert moving_parts(task) == {"head"}
    task.compile("sgd", freeze="0", **eagerly)
    assert moving_parts(task) == everything - {"block_0"}
    task.compile("adamw", **eagerly)
    assert moving_parts(task) == everything
    # As one that was never frozen.
    other = task_of_two_blocks()
    task.set_weights(other.get_weights())
    for one in (task, other):
        one.compile("sgd")
        one.fit(dataset(batches(2)), verbose=0, shuffle=False)
    assert difference(task, other) == 0


def test_what_its_user_froze_stays_so() -> None:
    task = task_of_two_blocks()
    task.model.transformer.blocks[1].trainable = False
    for parts in ("transformer", "1", ""):
        task.compile("sgd", freeze=parts, run_eagerly=True)
    assert moving_parts(task) == {"embeddings", "block_0", "head"}


def test_frozen_with_layer_decay_and_accumulation() -> None:
    found = []
    for steps in (1, 4):
        task = task_of_two_blocks()
        task.compile(
            create(OptimizerConfig("adamw"), 1e-2),
            accumulation_steps=steps,
            layer_decay=DECAY,
            freeze="embeddings,0",
        )
        task.fit(dataset(batches(3)), verbose=0, shuffle=False)
        assert set(task.optimizer.rate_factors) == {1.0, DECAY}
        found.append(task)
    assert difference(*found) < 1e-5


def test_a_decoder_has_its_final_norm_on_top() -> None:
    task = CausalLM(FAMILIES["gpt2"].size("tiny"))
    task.compile(create(OptimizerConfig(), 1.0), layer_decay=DECAY)
    top = len(task.model.transformer.blocks) + 1
    for variable, factor in zip(
        task.trainable_variables, task.optimizer.rate_factors, strict=True
    ):
        part = part_of(variable.path)
        if "final_norm" in variable.path:
            assert factor == 1.0
        elif part == "embeddings":
            assert factor == DECAY**top
        else:
            assert factor == DECAY ** (top - 1 - int(part[-1]))


# Keras 3.15 with NumPy 2, in its own loading of variables.
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_save_and_load(tmp_path: pathlib.Path) -> None:
    task = task_of_two_blocks()
    task.compile(
        create(OptimizerConfig("sgd"), 0.1), layer_decay=DECAY, freeze="0"
    )
    task.fit(dataset(batches(1)), verbose=0, shuffle=False)
    task.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    for one in (task, again):
        one.fit(dataset(batches(2)), verbose=0, shuffle=False)
    assert difference(task, again) == 0


@pytest.mark.parametrize("parts", ["embedding", "2", "1-0", "0-2", "-1", "0-"])
def test_parts_that_are_not_there(parts: str) -> None:
    task = task_of_two_blocks()
    with pytest.raises(ValueError, match=f"0 to 1 such .*Received: '{parts}'"):
        task.compile("sgd", freeze=parts)


def test_settings_that_do_not_go() -> None:
    task = task_of_two_blocks()
    for value in (0.0, 1.1):
        with pytest.raises(ValueError, match=f"Received: {value}"):
            task.compile(create(OptimizerConfig(), 1.0), layer_decay=value)
    with pytest.raises(ValueError, match="Received: Adafactor"):
        task.compile("adafactor", layer_decay=0.9)
