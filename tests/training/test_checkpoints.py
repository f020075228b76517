"""Checkpoints: whole, kept N, written behind, damaged."""

import logging
import pathlib
import shutil
from typing import Any

import keras
import numpy as np
import pytest

from tfllm.training.checkpoints import Checkpoints


class Model(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(4)
        self.dropout = keras.layers.Dropout(0.5)
        self.dense.build((None, 300))
        self.built = True


def make(folder: pathlib.Path, keep: int = 3) -> tuple[Any, Checkpoints]:
    model = Model()
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    return model, Checkpoints(str(folder), model, keep)


def fill(model: Any, value: float) -> None:
    model.dense.kernel.assign(np.full((300, 4), value))
    model.dropout.seed_generator.state.assign([int(value), 7])
    model.optimizer.iterations.assign(int(value))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Checkpoints after steps 10, 20, 30 with these values."""
    folder = tmp_path_factory.mktemp("saved")
    model, checkpoints = make(folder)
    for step in (10, 20, 30):
        fill(model, step)
        checkpoints.progress.step = step
        checkpoints.progress.best_value = step / 100
        checkpoints.progress.report = {"loss": float(step)}
        checkpoints.save()
        # Written behind the training, yet as they were at the call.
        fill(model, -1)
    checkpoints.wait()
    return folder


@pytest.fixture
def folder(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    copy = tmp_path / "checkpoints"
    shutil.copytree(saved, copy)
    return copy


def restored_step(folder: pathlib.Path) -> int:
    model, checkpoints = make(folder)
    assert checkpoints.restore()
    step = checkpoints.progress.step
    assert np.all(model.dense.kernel.numpy() == step)
    assert model.dropout.seed_generator.state.numpy().tolist() == [step, 7]
    assert int(model.optimizer.iterations.numpy()) == step
    assert checkpoints.progress.best_value == step / 100
    assert checkpoints.progress.report == {"loss": float(step)}
    return step


def flip(path: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data), 97):
        data[place] ^= 0xFF
    path.write_bytes(data)


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: pathlib.Path) -> None:
    path.write_bytes(b"")


def test_round_trip(folder: pathlib.Path) -> None:
    assert restored_step(folder) == 30


def test_nothing_to_restore(tmp_path: pathlib.Path) -> None:
    _, checkpoints = make(tmp_path / "new")
    assert not checkpoints.restore()
    assert checkpoints.progress.step == 0


def test_keeps_the_newest(tmp_path: pathlib.Path) -> None:
    model, checkpoints = make(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        checkpoints.progress.step = step
        checkpoints.save()
        checkpoints.save()  # of the same step: nothing new
    checkpoints.wait()
    kept = sorted(path.name for path in tmp_path.glob("*.index"))
    assert kept == ["ckpt-3.index", "ckpt-4.index"]


@pytest.mark.parametrize("damage", [flip, truncate, empty, pathlib.Path.unlink])
@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_damaged_last_one_falls_back(
    folder: pathlib.Path,
    damage: Any,
    suffix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(folder / f"ckpt-30.{suffix}")
    with caplog.at_level(logging.WARNING, "tfllm"):
        assert restored_step(folder) == 20
    (record,) = caplog.records
    assert str(folder / "ckpt-30") in record.getMessage()
    assert "damaged" in record.getMessage()


def test_after_a_fall_back_the_step_is_saved_again(
    folder: pathlib.Path,
) -> None:
    truncate(folder / "ckpt-30.data-00000-of-00001")
    model, checkpoints = make(folder)
    checkpoints.restore()
    fill(model, 30)
    checkpoints.progress.step = 30
    checkpoints.progress.best_value = 0.3
    checkpoints.progress.report = {"loss": 30.0}
    checkpoints.save()
    checkpoints.wait()
    assert restored_step(folder) == 30


@pytest.mark.parametrize("damage", [flip, empty, pathlib.Path.unlink])
def test_damaged_list_of_checkpoints(folder: pathlib.Path, damage: Any) -> None:
    damage(folder / "checkpoint")
    assert restored_step(folder) == 30


def test_all_damaged(folder: pathlib.Path) -> None:
    for path in folder.glob("*.data*"):
        truncate(path)
    _, checkpoints = make(folder)
    with pytest.raises(ValueError, match=f"no checkpoint .*{folder}"):
        checkpoints.restore()


def test_a_save_that_fails_is_an_error_with_the_folder(
    tmp_path: pathlib.Path,
) -> None:
    folder = tmp_path / "checkpoints"
    _, checkpoints = make(folder)
    checkpoints.progress.step = 1
    # A folder where a file of the checkpoint should go.
    (folder / "ckpt-1.index").mkdir(parents=True)
    (folder / "ckpt-1.index" / "file").touch()
    checkpoints.save()
    with pytest.raises(OSError, match=f"checkpoint in {folder}"):
        checkpoints.wait()
