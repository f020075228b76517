"""Optimizers against their formulas in numpy."""

from typing import Any

import keras
import numpy as np
import pytest

from tfllm.training.optimizers import (
    OPTIMIZERS,
    AdamW,
    OptimizerConfig,
    create,
)
from tfllm.training.schedules import ScheduleConfig

STEPS = 5
RATE = 0.1
DECAY = 0.3
CLIP = 1.0


def gradients() -> list[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        [rng.normal(size=(3, 2)) * scale, rng.normal(size=2) * scale]
        for scale in (1.0, 0.1, 10.0, 1.0, 0.01)
    ]


def clipped(parts: list[np.ndarray]) -> list[np.ndarray]:
    norm = np.sqrt(sum(np.sum(g**2) for g in parts))
    return [g * min(1.0, CLIP / norm) for g in parts]


def start() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=(3, 2)), rng.normal(size=2)]


def trained(name: str) -> list[np.ndarray]:
    """A kernel, which decays, and a bias, which does not."""
    variables = [
        keras.Variable(value, name=kind, dtype="float32")
        for value, kind in zip(start(), ("kernel", "bias"), strict=True)
    ]
    config = OptimizerConfig(name, weight_decay=DECAY, clip_norm=CLIP)
    optimizer = create(config, RATE)
    optimizer.exclude_from_weight_decay(var_list=[variables[1]])
    optimizer.build(variables)
    for parts in gradients():
        optimizer.apply([g.astype("float32") for g in parts], variables)
    return [np.asarray(v.value) for v in variables]


@pytest.mark.parametrize("name", ["adamw", "bert_adam"])
def test_adamw(name: str) -> None:
    """Decay first, as Keras does: to the weight before the update."""
    weights = start()
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    for step, parts in enumerate(gradients(), 1):
        for i, g in enumerate(clipped(parts)):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            m, v = first[i], second[i]
            if name == "adamw":
                m, v = m / (1 - 0.9**step), v / (1 - 0.999**step)
            decay = DECAY if i == 0 else 0.0
            weights[i] = (
                weights[i]
                - RATE * decay * weights[i]
                - RATE * m / (np.sqrt(v) + 1e-6)
            )
    for found, expected in zip(trained(name), weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_lamb() -> None:
    weights = start()
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    for step, parts in enumerate(gradients(), 1):
        for i, g in enumerate(clipped(parts)):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            direction = (first[i] / (1 - 0.9**step)) / (
                np.sqrt(second[i] / (1 - 0.999**step)) + 1e-6
            )
            if i == 0:
                direction = direction + DECAY * weights[i]
            ratio = np.linalg.norm(weights[i]) / np.linalg.norm(direction)
            weights[i] = weights[i] - RATE * ratio * direction
    for found, expected in zip(trained("lamb"), weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_sgd_with_momentum() -> None:
    weights = start()
    velocity = [np.zeros_like(w) for w in weights]
    for parts in gradients():
        for i, g in enumerate(clipped(parts)):
            weights[i] = weights[i] * (1 - RATE * (DECAY if i == 0 else 0))
            velocity[i] = 0.9 * velocity[i] - RATE * g
            weights[i] = weights[i] + velocity[i]
    for found, expected in zip(trained("sgd"), weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_first_steps_with_and_without_correction_differ() -> None:
    """The reason to name which one is used: about 3.2x at step one."""
    ratio = (0.1 / np.sqrt(0.001)) / 1.0
    moved = {}
    for name in ("adamw", "bert_adam"):
        variable = keras.Variable(np.zeros(1, "float32"))
        optimizer = create(OptimizerConfig(name, weight_decay=0.0), 1.0)
        optimizer.build([variable])
        optimizer.apply([np.ones(1, "float32") * 0.5], [variable])
        moved[name] = float(variable.value[0])
    assert moved["bert_adam"] / moved["adamw"] == pytest.approx(ratio, 1e-4)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_config_round_trip(name: str) -> None:
    optimizer = create(
        OptimizerConfig(name), ScheduleConfig(1e-3, 10, warmup=2)
    )
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adam"}, r"`optimizer` must be one of .*Received: 'adam'"),
        ({"weight_decay": -0.1}, r"`weight_decay` .* Received: -0.1"),
        ({"clip_norm": -1.0}, r"`clip_norm` .* Received: -1.0"),
    ],
)
def test_wrong_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_decay", 0.1),
        ("clipnorm", 1.0),
        ("clipvalue", 1.0),
        ("global_clipnorm", 1.0),
        ("use_ema", True),
        ("gradient_accumulation_steps", 2),
    ],
)
def test_adamw_refuses_what_it_would_leave_out(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{name}` .* Received: {name}="):
        AdamW(1e-3, **{name: value})
    # They are off in its own configuration.
    assert AdamW.from_config(AdamW(1e-3).get_config()).decay == 0.01
