"""Checks the repository: the one entry of Makefile, pre-commit and CI.

    python -m tools.check {format,lint,types,test,all} [ARGUMENT ...]

`format` rewrites the files; `all` runs lint, types and test. What follows
goes to the program, for instance `test -k masking` or `lint FILE`.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Check -> the programs it runs, as modules, with their arguments.
# A file's tests share what is costly, such as exports, so they stay together;
# each process holds up to 2 GB.
PARALLEL = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
CHECKS: dict[str, list[list[str]]] = {
    "format": [["ruff", "check", "--fix-only"], ["ruff", "format"]],
    "lint": [["ruff", "check"], ["ruff", "format", "--check"]],
    "types": [["mypy"]],
    "test": [["pytest", *PARALLEL]],
}
ALL = ("lint", "types", "test")


def run(check: str, arguments: list[str]) -> int:
    """Runs one check.

    Args:
        check: Key of `CHECKS`.
        arguments: Added to the arguments of every program.

    Returns:
        0, or the exit status of the first program that failed.
    """
    # TensorFlow's start-up messages would hide what matters.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    for program in CHECKS[check]:
        command = [sys.executable, "-m", *program, *arguments]
        print("+", " ".join(["python", *command[1:]]), flush=True)
        status = subprocess.run(command, cwd=ROOT, env=environment).returncode
        if status:
            return status
    return 0


def main(argv: list[str]) -> int:
    """Runs the check that the command line names."""
    name, arguments = (argv[1] if argv[1:] else ""), argv[2:]
    if name not in (*CHECKS, "all"):
        print(__doc__, file=sys.stderr)
        print(
            f"error: a check is one of {', '.join((*CHECKS, 'all'))}. "
            f"Received: {name!r}",
            file=sys.stderr,
        )
        return 2
    if name != "all":
        return run(name, arguments)
    # All of them, so that one run shows everything that is wrong.
    return max([run(check, []) for check in ALL], key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
