"""Measures how fast a model folder loads, and how much memory that takes.

The folder is GPT-2 124M with random weights, about 500 MB. Each side loads it
in fresh processes, in turns, after importing its library. Then it reads each
weight once, since a side may map the file into memory and read it later. The
memory is the highest during this less that before it.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from tools.peers import environments, tables
from tools.peers.sides import OURS, REPOSITORY
from tools.peers.worker import SideError, last_lines

_MIB = 2**20
_CREATE = """
import sys
import tfllm.lean_keras
import tfllm
from tfllm.models import FAMILIES
from tfllm.tasks import CausalLM

tfllm.save(CausalLM(FAMILIES["gpt2"].config()), sys.argv[1])
"""
# Side -> its imports, and an expression that loads the folder and reads all.
_SIDES = {
    OURS: (
        "import tfllm.lean_keras, keras, tfllm, tfllm.tasks",
        "[float(keras.ops.sum(w)) for w in tfllm.load(folder).weights]",
    ),
    "transformers": (
        "import torch; from transformers import GPT2LMHeadModel",
        "[float(w.sum()) for w in "
        "GPT2LMHeadModel.from_pretrained(folder).parameters()]",
    ),
}
_LOAD = """
import json, sys, time
{imports}

def status(name):
    with open("/proc/self/status") as lines:
        line = next(line for line in lines if line.startswith(name))
    return int(line.split()[1]) * 1024

folder = sys.argv[1]
before = status("VmRSS")
began = time.perf_counter()
{load}
seconds = time.perf_counter() - began
print(json.dumps({{"seconds": seconds, "bytes": status("VmHWM") - before}}))
"""


def measure(
    interpreters: dict[str, str | SideError],
    repeats: int,
    threads: int,
    timeout: float,
) -> tables.Table:
    """Times the loading in fresh processes, in turns.

    Args:
        interpreters: Side -> its Python, or the reason why it has none.
        repeats: Processes per side, after one that fills the caches.
        threads: Cores that may be used.
        timeout: Timeout of a process in seconds.
    """
    sides = [side for side in _SIDES if side in interpreters]
    answers: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    errors: dict[str, str] = {}
    size = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run(interpreters[OURS], _CREATE, folder, threads, timeout)
            paths = pathlib.Path(folder).glob("*.safetensors")
            size = sum(path.stat().st_size for path in paths)
        except SideError as error:
            errors = dict.fromkeys(sides, str(error))
        for repeat in range(0 if errors else repeats + 1):
            print(f"loading: round {repeat}/{repeats}", file=sys.stderr)
            for side in sides:
                imports, load = _SIDES[side]
                code = _LOAD.format(imports=imports, load=load)
                try:
                    answer = json.loads(
                        _run(interpreters[side], code, folder, threads, timeout)
                    )
                except SideError as error:
                    errors[side] = str(error)
                    continue
                if repeat:
                    answers[side].append(answer)
    return tables.Table(
        title=f"Loading a folder of {size / 1e6:.0f} MB, fresh processes",
        rows=[
            tables.Row(
                side,
                _figures(answers[side], size),
                error=errors.get(side, ""),
            )
            for side in sides
        ],
        compared={"load s": "lower", "memory MiB": "lower"},
        details={"raw": answers, "bytes": size},
    )


def _figures(answers: list[dict[str, float]], size: int) -> dict[str, float]:
    if not answers:
        return {}
    seconds = tables.summary([answer["seconds"] for answer in answers])
    memory = tables.summary([answer["bytes"] for answer in answers])["median"]
    return {
        "load s": seconds["median"],
        "least": seconds["least"],
        "greatest": seconds["greatest"],
        "memory MiB": memory / _MIB,
        "memory / size": memory / size,
    }


def _run(
    interpreter: str | SideError,
    code: str,
    folder: str,
    threads: int,
    timeout: float,
) -> Any:
    """Returns the last line that a program of one argument prints."""
    if isinstance(interpreter, SideError):
        raise interpreter
    try:
        done = subprocess.run(
            [interpreter, "-c", code, folder],
            env=environments.child_environment(threads),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SideError(f"not done within {timeout:.0f} s") from error
    if done.returncode:
        raise SideError(last_lines(done.stderr, 1))
    lines = done.stdout.splitlines()
    return lines[-1] if lines else ""
