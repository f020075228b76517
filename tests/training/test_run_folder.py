"""The records of a run, and what may not be resumed."""

import json
import logging
import pathlib

import pytest

from tfllm.run_config import RunConfig
from tfllm.training.run_folder import RunFolder


@pytest.fixture
def config(tmp_path: pathlib.Path) -> RunConfig:
    return RunConfig(model_dir=str(tmp_path), train_files="a", overwrite=True)


def test_the_flags_of_a_run_do_not_delete_it(
    tmp_path: pathlib.Path, config: RunConfig
) -> None:
    RunFolder(config.model_dir).start(config.settings, config.values, True)
    lines = (tmp_path / "flags.txt").read_text().splitlines()
    assert "--train_files=a" in lines
    assert not [line for line in lines if "overwrite" in line]


def test_what_is_deleted_is_said(
    tmp_path: pathlib.Path,
    config: RunConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = RunFolder(config.model_dir)
    with caplog.at_level(logging.WARNING, "tfllm"):
        folder.start(config.settings, config.values, overwrite=True)
        assert not caplog.records  # nothing was there
        (tmp_path / "checkpoints").mkdir()
        for step in (9, 10):
            (tmp_path / "checkpoints" / f"ckpt-{step}.index").touch()
        (tmp_path / "mine.txt").touch()
        # Damaged: to delete it is the way out.
        (tmp_path / "run.json").write_text("{")
        folder.start(config.settings, config.values, overwrite=True)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"Deleting the run in {tmp_path}, which was at step 10: run.json, "
        "flags.txt, checkpoints."
    )
    present = {path.name for path in tmp_path.iterdir()}
    assert present == {"run.json", "flags.txt", "mine.txt"}


def test_a_run_goes_on_with_what_it_began_with(
    tmp_path: pathlib.Path, config: RunConfig
) -> None:
    inputs = {"train_files": {"a": "1", "b": "2"}, "tokenizer": {"v": "3"}}
    folder = RunFolder(config.model_dir)
    folder.check_inputs(inputs)  # nothing is there yet
    folder.start(config.settings, config.values, False, inputs)
    folder.open(config.settings, overwrite=False)
    folder.check_inputs(inputs)
    other = {"train_files": {"a": "9", "c": "2"}, "tokenizer": {"v": "4"}}
    with pytest.raises(ValueError, match="--overwrite") as caught:
        folder.check_inputs(other)
    assert str(caught.value).endswith(
        "Received: tokenizer: v has changed; train_files: a has changed; "
        "train_files: b is gone; train_files: c is new"
    )
    # Several runs under one folder, and runs of earlier versions, have none.
    values = json.loads((tmp_path / "run.json").read_text())
    del values["inputs"]
    (tmp_path / "run.json").write_text(json.dumps(values))
    folder.check_inputs(other)
    folder.start(config.settings, config.values, False, other)
    assert json.loads((tmp_path / "run.json").read_text()) == values
    folder.close()
