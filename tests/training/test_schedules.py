"""Learning rates against literal values."""

import dataclasses

import numpy as np
import pytest

from tfllm.training.schedules import Schedule, ScheduleConfig


def rates(config: ScheduleConfig, steps: list[int]) -> list[float]:
    schedule = Schedule(config)
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"decay": "linear"}, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        (
            {"decay": "linear", "end": 0.2},
            [0.0, 0.5, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2],
        ),
        (
            {"decay": "cosine"},
            [0.0, 0.5, 1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0],
        ),
        (
            {"decay": "polynomial"},
            [0.0, 0.5, 1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0],
        ),
        (
            {"decay": "step"},
            [0.0, 0.5, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.0001],
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
        config, peak=1e-3, end=1e-3 * settings.get("end", 0)
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
        peak=1.0, total_steps=30, decay="step", step_every=10, step_factor=0.5
    )
    found = rates(config, [0, 9, 10, 19, 20, 29])
    np.testing.assert_allclose(found, [1, 1, 0.5, 0.5, 0.25, 0.25])


def test_config_round_trip() -> None:
    config = ScheduleConfig(1e-3, 7, "polynomial", 0.5, 1e-5, 3.0, 0.1, 0.2)
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
    ],
)
def test_wrong_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**{"peak": 1.0, "total_steps": 10, **settings})
