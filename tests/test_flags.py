"""The one place where a command line becomes a call and an exit status."""

import pytest

from tfllm import flags


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_exit_status_is_what_main_returns(monkeypatch, returned, status):
    monkeypatch.setattr("sys.argv", ["verb"])
    with pytest.raises(SystemExit) as stop:
        flags.run(lambda: returned)
    assert (stop.value.code or 0) == status


def test_stray_arguments_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["verb", "a.txt", "b.txt"])
    with pytest.raises(SystemExit) as stop:
        flags.run(lambda: pytest.fail("main was called"))
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("error: only flags are taken")


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
