"""The picture of the losses."""

import json
import logging
import pathlib

import numpy as np
import pytest

from tfllm.evaluation import charts
from tfllm.training import loss_curve

LINES = [
    {"step": 10, "loss": 3.0, "learning_rate": 1e-3},
    {"step": 20, "loss": 2.0, "learning_rate": 5e-4},
    {"step": 20, "eval_loss": 2.5, "eval_perplexity": 12.2},
]


def write_log(model_dir: pathlib.Path, end: str = "") -> None:
    (model_dir / "logs").mkdir()
    text = "".join(json.dumps(line) + "\n" for line in LINES) + end
    (model_dir / "logs" / "log.jsonl").write_text(text)


def test_it_shows_the_log(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that a kill cut off is none."""
    write_log(tmp_path, '{"step": 30, "lo')
    drawn: list[object] = []
    monkeypatch.setattr(
        charts, "write_loss_curve", lambda *given: drawn.extend(given)
    )
    loss_curve.draw(str(tmp_path))
    assert drawn == [
        str(tmp_path / "loss.png"),
        [(10, 3.0), (20, 2.0)],
        [(20, 2.5)],
        [(10, 1e-3), (20, 5e-4)],
        "loss (nats)",
    ]


def test_it_is_a_picture(tmp_path: pathlib.Path) -> None:
    write_log(tmp_path)
    loss_curve.draw(str(tmp_path))
    data = (tmp_path / "loss.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"


def test_axes_and_lines(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []
    monkeypatch.setattr(
        charts, "_write_png", lambda _, figure: figures.append(figure)
    )
    steps = range(1, 101)
    charts.write_loss_curve(
        "a.png",
        [(step, 5.0 / step) for step in steps],
        [(50, 0.2), (100, 0.1)],
        [(step, 1e-3) for step in steps],
        "loss (nats)",
    )
    left, right = figures[0].axes
    assert left.get_xlabel() == "step"
    assert left.get_ylabel() == "loss (nats)"
    assert right.get_ylabel() == "learning rate"
    raw, smooth, held_out = left.lines
    np.testing.assert_allclose(raw.get_ydata(), [5.0 / s for s in steps])
    # Windows of 5, shorter at the ends.
    expected = np.mean([5.0 / s for s in (48, 49, 50, 51, 52)])
    assert smooth.get_ydata()[49] == pytest.approx(expected)
    assert smooth.get_ydata()[0] == 5.0
    assert list(held_out.get_xdata()) == [50, 100]
    assert left.get_title() == "Loss over the steps"


def test_a_short_run_has_whole_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(
        charts, "_write_png", lambda _, figure: figures.append(figure)
    )
    charts.write_loss_curve("a.png", [(1, 3.0), (2, 2.0)], [], [], "loss")
    ticks = figures[0].axes[0].get_xticks()
    assert all(tick == int(tick) for tick in ticks)


def test_a_run_outlives_its_picture(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    loss_curve.draw(str(tmp_path))  # no log, nothing to draw
    assert not caplog.records
    write_log(tmp_path, "no JSON\n")
    with caplog.at_level(logging.WARNING, "tfllm"):
        loss_curve.draw(str(tmp_path))
    (record,) = caplog.records
    assert record.getMessage().startswith("loss.png was not drawn: ")
    assert not (tmp_path / "loss.png").exists()
