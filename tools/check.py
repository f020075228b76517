"""Checks the repository: lint, types and tests.

    python -m tools.check {format,lint,types,test,test-all,all} [ARGUMENT ...]
    python -m tools.check test -k masking
    python -m tools.check lint tfllm/runs/flags.py

Makefile, pre-commit and CI call it. Checks:
  format    formats the files (ruff)
  lint      reports style errors and files that are not formatted (ruff)
  types     checks the types (mypy)
  test      runs the tests in up to four processes, folder by folder (pytest)
  test-all  also runs the wide matrices of cases, which take much longer
  all       runs lint, types and test, and exits with the worst status

Further arguments go to the program of the check; `all` takes none.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# The tests of a file share costly fixtures, such as exports, so they run in one
# process; each process takes up to 2 GB.
PARALLEL = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
# Check -> programs to run, as modules with arguments.
CHECKS: dict[str, list[list[str]]] = {
    "format": [["ruff", "check", "--fix-only"], ["ruff", "format"]],
    "lint": [["ruff", "check"], ["ruff", "format", "--check"]],
    "types": [["mypy"]],
    "test": [["pytest", *PARALLEL, "-m", "not wide"]],
    "test-all": [["pytest", *PARALLEL]],
}
ALL = ("lint", "types", "test")
# Folders of tests whose processes run one after the other: what TensorFlow
# compiles stays in memory, and all tests in one process take over 15 GB.
GROUPS = (
    ("models", "layers"),
    ("tokenizers", "interop"),
    ("generation", "tasks"),
    ("serving", "server", "runtime"),
)
_NO_TESTS = 5  # pytest's exit status


def run(check: str, arguments: list[str]) -> int:
    """Runs one check.

    Args:
        check: Key of `CHECKS`.
        arguments: Further arguments of each program.

    Returns:
        0, or the exit status of the first program that failed.
    """
    # TensorFlow's start-up messages would hide the results.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    statuses = []
    for program in CHECKS[check]:
        in_groups = program[0] == "pytest" and not names_tests(arguments)
        for group in groups_of_tests() if in_groups else [[]]:
            command = [sys.executable, "-m", *program, *arguments, *group]
            print("+", " ".join(["python", *command[1:]]), flush=True)
            done = subprocess.run(command, cwd=ROOT, env=environment)
            statuses.append(done.returncode)
        if not in_groups and statuses[-1]:
            return statuses[-1]
    # With -k, some groups have no tests.
    failed = [status for status in statuses if status not in (0, _NO_TESTS)]
    if not failed and statuses and set(statuses) == {_NO_TESTS}:
        return _NO_TESTS
    return failed[0] if failed else 0


def names_tests(arguments: list[str]) -> bool:
    """Returns whether arguments of pytest name files or folders."""
    return any((ROOT / a.partition("::")[0]).exists() for a in arguments)


def groups_of_tests() -> list[list[str]]:
    """Returns the paths of each group of tests, all of them together."""
    tests = ROOT / "tests"
    named = {folder for group in GROUPS for folder in group}
    folders = {path.parent for path in tests.glob("*/**/test_*.py")}
    tops = {path.relative_to(tests).parts[0] for path in folders}
    files = sorted(f"tests/{path.name}" for path in tests.glob("test_*.py"))
    groups = [[f"tests/{folder}" for folder in group] for group in GROUPS]
    return [*groups, [f"tests/{top}" for top in sorted(tops - named)], files]


def main(argv: list[str]) -> int:
    """Runs the check named on the command line."""
    name, arguments = (argv[1] if argv[1:] else ""), argv[2:]
    if name in ("--help", "-help", "-h"):
        print(__doc__.strip())
        return 0
    if name not in (*CHECKS, "all"):
        print(
            f"error: the check must be one of {', '.join((*CHECKS, 'all'))}. "
            f"Received: {name!r}. See --help",
            file=sys.stderr,
        )
        return 2
    if name == "all" and arguments:
        print(
            "error: `all` runs several programs and takes no arguments. "
            f"Received: {' '.join(arguments)}",
            file=sys.stderr,
        )
        return 2
    if name != "all":
        return run(name, arguments)
    # Run all checks, even after a failure, to show all problems at once.
    return max([run(check, []) for check in ALL], key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
