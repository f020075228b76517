"""Optimizers against their formulas in numpy."""

from typing import Any

import keras
import numpy as np
import pytest

from tfllm.learning.optimizer_config import DEFAULTS
from tfllm.learning.optimizers import AdamW, OptimizerConfig, create
from tfllm.learning.schedules import ScheduleConfig

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


def trained(name: str, **options: float) -> list[np.ndarray]:
    """A kernel, which decays, and a bias, which does not."""
    variables = [
        keras.Variable(value, name=kind, dtype="float32")
        for value, kind in zip(start(), ("kernel", "bias"), strict=True)
    ]
    config = OptimizerConfig(
        name, weight_decay=DECAY, clip_norm=CLIP, **options
    )
    optimizer = create(config, RATE)
    optimizer.exclude_from_weight_decay(var_list=[variables[1]])
    optimizer.build(variables)
    for parts in gradients():
        optimizer.apply([g.astype("float32") for g in parts], variables)
    return [np.asarray(v.value) for v in variables]


MOMENTS = [
    {},
    # LLaMA's.
    {"beta_2": 0.95},
    {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.1},
    {"beta_1": 0.0},
]


def moments(options: dict[str, float]) -> tuple[float, float, float]:
    defaults = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-6}
    return tuple((defaults | options).values())


@pytest.mark.parametrize("options", MOMENTS)
@pytest.mark.parametrize("name", ["adamw", "bert_adam"])
def test_adamw(name: str, options: dict[str, float]) -> None:
    """Decay first, as Keras does: to the weight before the update."""
    b1, b2, epsilon = moments(options)
    weights = start()
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    for step, parts in enumerate(gradients(), 1):
        for i, g in enumerate(clipped(parts)):
            first[i] = b1 * first[i] + (1 - b1) * g
            second[i] = b2 * second[i] + (1 - b2) * g**2
            m, v = first[i], second[i]
            if name == "adamw":
                m, v = m / (1 - b1**step), v / (1 - b2**step)
            decay = DECAY if i == 0 else 0.0
            weights[i] = (
                weights[i]
                - RATE * decay * weights[i]
                - RATE * m / (np.sqrt(v) + epsilon)
            )
    for found, expected in zip(trained(name, **options), weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("options", MOMENTS)
def test_lamb(options: dict[str, float]) -> None:
    b1, b2, epsilon = moments(options)
    weights = start()
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    for step, parts in enumerate(gradients(), 1):
        for i, g in enumerate(clipped(parts)):
            first[i] = b1 * first[i] + (1 - b1) * g
            second[i] = b2 * second[i] + (1 - b2) * g**2
            direction = (first[i] / (1 - b1**step)) / (
                np.sqrt(second[i] / (1 - b2**step)) + epsilon
            )
            if i == 0:
                direction = direction + DECAY * weights[i]
            ratio = np.linalg.norm(weights[i]) / np.linalg.norm(direction)
            weights[i] = weights[i] - RATE * ratio * direction
    found = trained("lamb", **options)
    for weight, expected in zip(found, weights, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"momentum": 0.0}])
def test_sgd_with_momentum(options: dict[str, float]) -> None:
    momentum = options.get("momentum", 0.9)
    weights = start()
    velocity = [np.zeros_like(w) for w in weights]
    for parts in gradients():
        for i, g in enumerate(clipped(parts)):
            weights[i] = weights[i] * (1 - RATE * (DECAY if i == 0 else 0))
            velocity[i] = momentum * velocity[i] - RATE * g
            weights[i] = weights[i] + velocity[i]
    found = trained("sgd", **options)
    for weight, expected in zip(found, weights, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=2e-5, atol=2e-5)


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


@pytest.mark.parametrize("name", sorted(DEFAULTS))
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
        ({"beta_1": 1.0}, r"`beta_1` must be .* below 1. Received: 1.0"),
        ({"beta_2": -0.1}, r"`beta_2` .* Received: -0.1"),
        ({"epsilon": 0.0}, "`epsilon` must be positive. Received: 0.0"),
        ({"name": "sgd", "momentum": 1.5}, r"`momentum` .* Received: 1.5"),
        (
            {"momentum": 0.9},
            "`momentum` goes with --optimizer=sgd. Received: momentum=0.9 "
            "with --optimizer=bert_adam",
        ),
        (
            {"name": "sgd", "beta_2": 0.95},
            "goes with --optimizer=adamw or bert_adam or lamb. Received: "
            "beta_2=0.95 with --optimizer=sgd",
        ),
        ({"name": "adafactor", "epsilon": 1e-8}, "--optimizer=adafactor"),
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
