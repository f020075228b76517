"""The records of a run, and what may not be resumed."""

import json
import logging
import pathlib

import pytest

from tfllm.runs.run_config import RunConfig
from tfllm.training.run_folder import RunFolder


@pytest.fixture
def config(tmp_path: pathlib.Path) -> RunConfig:
    return RunConfig.of(
        model_dir=str(tmp_path), train_files="a", overwrite=True
    )


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


def test_a_record_from_before_an_option_is_the_same_run(
    tmp_path: pathlib.Path, config: RunConfig
) -> None:
    options = [
        "beta_1",
        "beta_2",
        "epsilon",
        "momentum",
        "final_learning_rate",
        "decay_steps",
        "schedule_power",
        "step_boundaries",
        "step_factor",
    ]
    record = {k: v for k, v in config.settings.items() if k not in options}
    assert len(record) == len(config.settings) - len(options)
    (tmp_path / "run.json").write_text(json.dumps(record))
    folder = RunFolder(config.model_dir)
    folder.open(config.settings, overwrite=False)
    folder.close()
    changed = config.replace(beta_2=0.95)
    with pytest.raises(ValueError, match="beta_2 was None, is 0.95"):
        folder.open(changed.settings, overwrite=False)
    folder.close()


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
    with pytest.raises(ValueError, match="bring those back") as caught:
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


def test_advice_for_a_damaged_record_keeps_what_is_there(
    tmp_path: pathlib.Path, config: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(config.model_dir)
    (tmp_path / "checkpoints").mkdir()
    for content in ('{"task": ', "[1]", "null", "", '{"a": 1}'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(ValueError, match="Restore the file") as caught:
            folder.open(config.settings, overwrite=False)
        assert "--overwrite" not in str(caught.value)
        folder.close()
        # Who only reads does without it, and says so.
        caplog.clear()
        assert folder.read_if_whole("run.json") == {}
        (record,) = caplog.records
        assert "Going on without it: the sequence length" in record.getMessage()
        assert str(tmp_path / "run.json") in record.getMessage()
        assert "Restore" not in record.getMessage()
    (tmp_path / "run.json").unlink()
    assert folder.read_if_whole("run.json") is None
    with pytest.raises(ValueError, match="move this one away"):
        folder.open(config.settings, overwrite=False)
    folder.close()


def test_overwrite_deletes_in_its_own_folder(
    tmp_path: pathlib.Path, config: RunConfig
) -> None:
    """As a pattern, m[1] is the name m1."""
    for name in ("m1", "m[1]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flags.txt").write_text("old")
        (tmp_path / name / "best").mkdir()
    folder = RunFolder(str(tmp_path / "m[1]"))
    folder.start(config.settings, config.values, overwrite=True)
    assert (tmp_path / "m1" / "flags.txt").read_text() == "old"
    assert (tmp_path / "m1" / "best").is_dir()
    assert not (tmp_path / "m[1]" / "best").exists()
    # TensorFlow's checkpoints would be those of m1.
    with pytest.raises(ValueError, match=r"`model_dir`.*m\[1\]\. "):
        folder.open(config.settings, overwrite=True)


def test_a_place_for_results_is_tried_before_the_work(
    tmp_path: pathlib.Path,
) -> None:
    folder = RunFolder(str(tmp_path / "new" / "folder"))
    folder.check_writable("a.json")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new" / "folder" / "a.json").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"a\.json cannot .*--output_dir"):
        folder.check_writable("a.json")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", "/proc/tfllm"):
        with pytest.raises(ValueError, match="--output_dir") as caught:
            RunFolder(str(path)).check_writable("a.json")
        # A name that nobody gave.
        assert ".tmp" not in str(caught.value)
