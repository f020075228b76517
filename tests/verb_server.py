"""Runs verbs, each in a fork of this process, which imports TensorFlow once.

A fork starts as `python -m tfllm.VERB` does, five seconds earlier. The verb
`python` runs its one argument as code, as `python -c` does, and `module` its
first as `python -m` does. Requests and answers are JSON lines: {"verb", "argv",
"folder", "stdin", "stdout", "stderr", "file_size"} gives {"pid"}, and at its
end {"status"}.
"""

import atexit
import importlib
import json
import os
import resource
import runpy
import sys
import traceback
import warnings
from collections.abc import Callable

import tfllm.lean_keras  # noqa: F401

# isort: split
from tfllm.runs import flags
from tools import tune, tune_flags

VERBS = ("train", "predict", "evaluate", "generate", "export")
MODULES = {verb: importlib.import_module(f"tfllm.{verb}") for verb in VERBS}
MODULES["tune"] = tune
FLAGS = {
    verb: importlib.import_module(f"tfllm.runs.{verb}_flags") for verb in VERBS
}
FLAGS["tune"] = tune_flags


def run_verb(request: dict) -> int:
    """Returns the exit status of a verb."""
    if request["verb"] == "python":
        return status_of(lambda: run_code(*request["argv"]))
    if request["verb"] == "module":
        return status_of(lambda: run_module(*request["argv"]))
    module = MODULES[request["verb"]]
    if request["file_size"]:
        limit = (request["file_size"], request["file_size"])
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    sys.modules["__main__"].__doc__ = module.__doc__
    sys.argv = [f"tfllm.{request['verb']}", *request["argv"]]

    def run() -> None:
        flags.parse(FLAGS[request["verb"]].define)
        flags.run(module.main)

    return status_of(run)


def run_code(code: str) -> None:
    """Runs the text of a program."""
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})


def run_module(name: str, *argv: str) -> None:
    """Runs a module as a program."""
    sys.argv = [name, *argv]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def status_of(run: Callable[[], None]) -> int:
    """Returns the exit status of what a process runs."""
    try:
        run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else bool(stop.code)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def fork(request: dict) -> int:
    """Returns the id of a new process that runs a verb."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        for descriptor, name, mode in (
            (0, "stdin", os.O_RDONLY),
            (1, "stdout", os.O_WRONLY | os.O_CREAT),
            (2, "stderr", os.O_WRONLY | os.O_CREAT),
        ):
            os.dup2(os.open(request[name], mode), descriptor)
        os.chdir(request["folder"])
        status = run_verb(request)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def serve() -> None:
    """Serves until standard input ends."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        with warnings.catch_warnings(action="ignore"):
            pid = fork(json.loads(line))
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        status = os.waitstatus_to_exitcode(status)
        print(json.dumps({"status": status}), flush=True)


if __name__ == "__main__":
    serve()
