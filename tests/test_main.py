"""`python -m tfllm` and the console script: lists and calls the verbs."""

import json
import pathlib
import subprocess
import sys

import pytest

import tfllm
from tfllm.__main__ import VERBS

ROOT = pathlib.Path(__file__).parents[1]
HEAVY = {"tensorflow", "keras", "numpy", "absl"}

# The console script calls main of an installed tfllm.
SCRIPT = """
import json, sys
from tfllm.__main__ import main
sys.argv = ["tfllm", *{argv!r}]
status = main()
print(json.dumps({{"status": status, "modules": list(sys.modules)}}))
"""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def script(*argv: str) -> tuple[dict, str]:
    """Returns status and modules of main, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(argv=argv)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *printed, last = done.stdout.splitlines()
    return json.loads(last), "\n".join(printed)


@pytest.mark.parametrize("argv", [["--help"], []])
def test_help_lists_the_verbs_and_imports_nothing_heavy(
    argv: list[str],
) -> None:
    found, printed = script(*argv)
    assert found["status"] == 0
    assert not HEAVY & {*found["modules"]}
    listed = [
        line.split(maxsplit=1)
        for line in printed.split("Verbs:\n")[1].split("\n\n")[0].splitlines()
    ]
    assert [verb for verb, _ in listed] == [*VERBS]
    for _, summary in listed:
        assert summary.endswith(".")
        assert len(summary) < 70
    assert max(map(len, printed.splitlines())) <= 80


def test_every_program_of_the_package_is_a_verb() -> None:
    programs = {
        path.stem
        for path in (ROOT / "tfllm").glob("*.py")
        if "flags.run(main)" in path.read_text(encoding="utf-8")
    }
    assert programs == {*VERBS}


def test_version() -> None:
    done = run("tfllm", "--version")
    assert (done.returncode, done.stdout) == (0, f"tfllm {tfllm.__version__}\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "Received: 'trian'. Did you mean 'train'?"),
        (["serving"], "Received: 'serving'. Did you mean 'serve'?"),
        (["--model_dir=m"], "Received: '--model_dir=m'. Flags follow the verb"),
    ],
)
def test_wrong_verbs(argv: list[str], message: str) -> None:
    done = run("tfllm", *argv)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: the first argument must be one of train, evaluate, predict, "
        f"generate, export, serve. {message}\n"
    )


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(verb, marks=[pytest.mark.wide] * (verb != "train"))
        for verb in VERBS
    ],
)
def test_calls_a_verb_as_python_does(verb: str) -> None:
    through, direct = (
        run("tfllm", verb, "--help"),
        run(f"tfllm.{verb}", "--help"),
    )
    assert (through.returncode, direct.returncode) == (0, 0)
    assert through.stdout == direct.stdout
    assert through.stderr == direct.stderr == ""


def test_the_status_is_that_of_the_verb() -> None:
    done = run("tfllm", "predict", "--no_such_flag=1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Unknown command line flag")


def test_a_reader_may_close_the_help() -> None:
    """As in `tfllm train --help | head -1`."""
    command = [sys.executable, "-m", "tfllm.train", "--help"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
