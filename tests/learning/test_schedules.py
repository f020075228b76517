"""Learning rates against literal values."""

import dataclasses

import numpy as np
import pytest

from tfllm.learning.schedules import Schedule, ScheduleConfig


def rates(config: ScheduleConfig, steps: list[int]) -> list[float]:
    schedule = Schedule(config)
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"decay": "linear"}, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        (
            {"decay": "linear", "final_learning_rate": 0.2},
            [0.0, 0.5, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2],
        ),
        (
            {"decay": "linear", "final_learning_rate": 0.2, "decay_steps": 12},
            [0.0, 0.5, 1.0, 0.6, 0.2, 0.2, 0.2, 0.2],
        ),
        (
            {"decay": "cosine"},
            [0.0, 0.5, 1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0],
        ),
        (
            # 0.1 + 0.9 x the row above, as GPT-3 and LLaMA.
            {"decay": "cosine", "final_learning_rate": 0.1},
            [0.0, 0.5, 1.0, 0.868198, 0.55, 0.231802, 0.1, 0.1],
        ),
        (
            {
                "decay": "cosine",
                "final_learning_rate": 0.1,
                "decay_steps": 0.6,
            },
            [0.0, 0.5, 1.0, 0.55, 0.1, 0.1, 0.1, 0.1],
        ),
        (
            {"decay": "polynomial"},
            [0.0, 0.5, 1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0],
        ),
        (
            {
                "decay": "polynomial",
                "schedule_power": 3.0,
                "final_learning_rate": 0.2,
            },
            # 0.2 + 0.8 x (3/4, 1/2, 1/4) ** 3.
            [0.0, 0.5, 1.0, 0.5375, 0.3, 0.2125, 0.2, 0.2],
        ),
        (
            {"decay": "inverse_sqrt"},
            # sqrt(4 / step).
            [0.0, 0.5, 1.0, 0.707107, 0.577350, 0.5, 0.447214, 0.365148],
        ),
        (
            {"decay": "inverse_sqrt", "final_learning_rate": 0.5},
            [0.0, 0.5, 1.0, 0.707107, 0.577350, 0.5, 0.5, 0.5],
        ),
        (
            {"decay": "step"},
            [0.0, 0.5, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.0001],
        ),
        (
            {"decay": "step", "final_learning_rate": 0.01},
            [0.0, 0.5, 1.0, 0.1, 0.01, 0.01, 0.01, 0.01],
        ),
        (
            {"decay": "step", "step_boundaries": "0.4,16", "step_factor": 0.5},
            [0.0, 0.5, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25],
        ),
        ({"decay": "constant"}, [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_decays(settings: dict, expected: list[float]) -> None:
    """4 steps of warm-up, 16 of decay; then the last value."""
    config = ScheduleConfig(peak=1.0, total_steps=20, warmup=4, **settings)
    found = rates(config, [0, 2, 4, 8, 12, 16, 20, 30])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    scaled = dataclasses.replace(
        config,
        peak=1e-3,
        final_learning_rate=None
        if config.final_learning_rate is None
        else 1e-3 * config.final_learning_rate,
    )
    np.testing.assert_allclose(
        rates(scaled, [2, 8, 12]),
        [1e-3 * expected[i] for i in (1, 3, 4)],
        rtol=1e-5,
    )


def test_warmup_as_a_fraction_equals_steps() -> None:
    by_steps = ScheduleConfig(peak=2e-3, total_steps=50, warmup=10)
    by_share = ScheduleConfig(peak=2e-3, total_steps=50, warmup=0.2)
    steps = list(range(50))
    assert rates(by_steps, steps) == rates(by_share, steps)


def test_without_warmup_it_starts_at_the_peak() -> None:
    config = ScheduleConfig(peak=2.0, total_steps=4)
    np.testing.assert_allclose(rates(config, [0, 1, 3]), [2.0, 1.5, 0.5])


def test_stairs_of_a_number_of_steps() -> None:
    config = ScheduleConfig(
        peak=1.0,
        total_steps=30,
        decay="step",
        step_boundaries="10, 20",
        step_factor=0.5,
    )
    found = rates(config, [0, 9, 10, 19, 20, 29])
    np.testing.assert_allclose(found, [1, 1, 0.5, 0.5, 0.25, 0.25])


def test_stairs_of_deepseek() -> None:
    """31.6 % of the peak from 80 % of the steps on, 10 % from 90 %."""
    config = ScheduleConfig(
        peak=4.2e-4,
        total_steps=100_000,
        decay="step",
        warmup=2000,
        step_boundaries="0.8,0.9",
        step_factor=0.31623,
    )
    found = rates(config, [1000, 2000, 79_999, 80_000, 90_000, 99_999])
    expected = [2.1e-4, 4.2e-4, 4.2e-4, 1.32817e-4, 4.2e-5, 4.2e-5]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_config_round_trip() -> None:
    config = ScheduleConfig(
        1e-3,
        7,
        "polynomial",
        0.5,
        final_learning_rate=1e-5,
        schedule_power=3.0,
        decay_steps=6,
    )
    again = Schedule.from_config(Schedule(config).get_config())
    assert again.config == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": "expo"}, r"`schedule` .* Received: 'expo'"),
        ({"peak": 0.0}, r"`learning_rate` .* Received: 0.0"),
        ({"peak": float("nan")}, "Received: nan"),
        ({"total_steps": 0}, r"`train_steps` .* Received: 0"),
        ({"warmup": 11}, r"`warmup` .*10. Received: 11"),
        ({"warmup": -1}, "Received: -1"),
        (
            {"final_learning_rate": 1.5},
            r"from 0 to `learning_rate`=1.0. Received: 1.5",
        ),
        (
            {"decay": "constant", "final_learning_rate": 0.1},
            "`final_learning_rate` goes with --schedule=cosine or inverse_sqrt "
            "or linear or polynomial or step. Received: "
            "final_learning_rate=0.1 with --schedule=constant",
        ),
        (
            {"schedule_power": 2.0},
            "goes with --schedule=polynomial. Received: schedule_power=2.0 "
            "with --schedule=linear",
        ),
        (
            {"decay": "cosine", "step_boundaries": "5"},
            "goes with --schedule=step. Received: step_boundaries=5",
        ),
        ({"decay": "step", "decay_steps": 5}, "`decay_steps` goes with"),
        ({"step_factor": 0.5}, "`step_factor` goes with --schedule=step"),
        (
            {"decay": "polynomial", "schedule_power": 0.0},
            "`schedule_power` must be positive. Received: 0.0",
        ),
        (
            {"decay": "step", "step_factor": 2.0},
            "`step_factor` must be at most 1. Received: 2.0",
        ),
        ({"decay": "step", "step_boundaries": "a"}, "Received: 'a'"),
        ({"decay": "step", "step_boundaries": ""}, "Received: ''"),
        ({"decay": "step", "step_boundaries": "nan"}, "Received: 'nan'"),
        (
            {"decay": "step", "step_boundaries": "6,5"},
            r"must rise from the end of the warm-up, 0, .* Received: 6,5",
        ),
        (
            {"decay": "step", "step_boundaries": "5,11"},
            "to `train_steps`=10. Received: 5,11",
        ),
        ({"decay": "step", "warmup": 4, "step_boundaries": "3"}, "up, 4, to"),
        ({"decay_steps": 11}, "`train_steps`=10. Received: 11"),
        ({"decay_steps": 2, "warmup": 4}, "up, 4, to .* Received: 2"),
        ({"decay": "inverse_sqrt"}, "`warmup` .* Received: 0.0"),
    ],
)
def test_wrong_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**{"peak": 1.0, "total_steps": 10, **settings})
