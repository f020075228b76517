"""The groups of tests that `tools.check` runs one after the other."""

import pathlib

from tools import check

TESTS = pathlib.Path(__file__).parents[1]


def test_each_file_is_in_one_group() -> None:
    files = []
    for group in check.groups_of_tests():
        for name in group:
            path = check.ROOT / name
            files += [path] if path.is_file() else path.rglob("test_*.py")
    assert sorted(files) == sorted(TESTS.rglob("test_*.py"))


def test_paths_replace_the_groups() -> None:
    assert check.names_tests(["-q", "tests/tools/test_check.py::test_x"])
    assert not check.names_tests(["-k", "masking"])


def test_the_first_failure_counts(monkeypatch) -> None:
    statuses = {"tests/models": 0, "tests/serving": 1, "tests/data": 5}
    calls = []

    class Done:
        def __init__(self, command, **_):
            calls.append(command)
            self.returncode = max(statuses.get(a, 0) for a in command)

    monkeypatch.setattr(check.subprocess, "run", Done)
    assert check.run("test", []) == 1
    # The groups after a failure run as well.
    assert len(calls) == len(check.groups_of_tests())
    statuses = dict.fromkeys(statuses, 0)
    assert check.run("test", ["-k", "x"]) == 0
