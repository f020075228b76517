"""The one place where a command line becomes a call and an exit status."""

import logging
import os
import sys

import pytest
from absl import flags as absl_flags
from absl import logging as absl_logging

from tfllm.runs import flags


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_exit_status_is_what_main_returns(monkeypatch, returned, status):
    monkeypatch.setattr("sys.argv", ["verb"])
    with pytest.raises(SystemExit) as stop:
        flags.run(lambda: returned)
    assert (stop.value.code or 0) == status


@pytest.fixture(autouse=True)
def _unparsed():
    """As in a new process; absl's own flags stay defined."""
    absl_flags.FLAGS.unparse_flags()
    yield
    absl_flags.FLAGS.unparse_flags()


def test_stray_arguments_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["verb", "a.txt", "b.txt"])
    with pytest.raises(SystemExit) as stop:
        flags.run(lambda: pytest.fail("main was called"))
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("error: only flags are taken")


@pytest.fixture
def path_flags(monkeypatch):
    """Flags of a verb: two that hold paths, and one that does not."""
    values = absl_flags.FlagValues()
    for name in ("model_dir", "train_files", "text", "tokenizer"):
        absl_flags.DEFINE_string(name, "", "", flag_values=values)
    monkeypatch.setattr(flags.absl_flags, "FLAGS", values)
    monkeypatch.setenv("HOME", "/home/me")
    return values


def test_a_tilde_is_expanded_where_a_flag_holds_paths(monkeypatch, path_flags):
    argv = ["verb", "--model_dir=~/out", "--text=~/x", "--tokenizer=bert:x"]
    monkeypatch.setattr("sys.argv", [*argv, "--train_files=~/a/*.txt, b,~/c"])
    flags.parse(lambda: None)
    assert path_flags.model_dir == "/home/me/out"
    assert path_flags.train_files == "/home/me/a/*.txt, b,/home/me/c"
    assert path_flags.text == "~/x"
    assert path_flags.tokenizer == "bert:x"


@pytest.mark.parametrize("name", ["model_dir", "train_files"])
def test_a_missing_file_system_costs_no_work(
    name, monkeypatch, capsys, path_flags
):
    monkeypatch.setattr("sys.argv", ["verb", f"--{name}=a.txt,s3://b/c"])
    with pytest.raises(SystemExit) as stop:
        flags.run(lambda: pytest.fail("main was called"))
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no file system for s3://" in line
    assert "pip install tensorflow-io" in line


def test_flags_that_an_import_defines_do_not_stop_the_reading(
    monkeypatch, path_flags
):
    """The first remote path imports TensorFlow, which defines flags."""

    def define(path):
        absl_flags.DEFINE_string("late", "", "", flag_values=path_flags)

    monkeypatch.setattr(flags.file_access, "check_scheme", define)
    monkeypatch.setattr("sys.argv", ["verb", "--model_dir=gs://bucket/m"])
    flags.parse(lambda: None)
    assert path_flags.model_dir == "gs://bucket/m"


def test_a_failed_rename_names_the_file_of_the_user(monkeypatch, capsys):
    def rename():
        raise IsADirectoryError(21, "Is a directory", "o.partial", None, "o")

    monkeypatch.setattr("sys.argv", ["verb"])
    with pytest.raises(SystemExit):
        flags.run(rename)
    assert capsys.readouterr().err == "error: o: Is a directory\n"


def test_a_warning_is_a_plain_line(monkeypatch, capsys):
    def warn():
        logging.getLogger("tfllm.x").warning("%d records skipped", 2)

    monkeypatch.setattr("sys.argv", ["verb"])
    handler = absl_logging.get_absl_handler()
    monkeypatch.setattr(handler.python_handler, "stream", sys.stderr)
    monkeypatch.setattr(handler.python_handler, "formatter", None)
    with pytest.raises(SystemExit):
        flags.run(warn)
    assert capsys.readouterr().err == "warning: 2 records skipped\n"


def test_an_interruption_that_became_another_error(monkeypatch, capsys):
    """As TensorFlow's of a trace that was left in the middle."""

    def main():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise AssertionError("Nesting violated") from None

    monkeypatch.setattr("sys.argv", ["verb"])
    with pytest.raises(SystemExit) as stop:
        flags.run(main)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("given", "level"), [(None, "3"), ("0", "0")])
def test_tensorflow_is_silent_unless_asked(monkeypatch, given, level):
    monkeypatch.setattr("sys.argv", ["verb"])
    # Set first, so that what `parse` sets is taken back.
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", given or "")
    if given is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    flags.parse(lambda: None)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == level


def test_contradictions_end_with_one_line(monkeypatch, capsys):
    def check():
        raise ValueError("`a` goes with `b`. Received: a")

    monkeypatch.setattr("sys.argv", ["verb"])
    with pytest.raises(SystemExit) as stop:
        flags.parse(lambda: None, check)
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: `a` goes with `b`. Received: a\n"
