"""Measures the time of `import tfllm`, and checks what it loads."""

import json
import subprocess
import sys
from typing import Any

from tools.peers import environments, tables
from tools.peers.sides import OURS, REPOSITORY
from tools.peers.worker import SideError, last_lines

FORBIDDEN = ("tf_keras", "official", "torch", "keras_hub")
BASELINE = "import tensorflow, keras"
# `import tfllm` loads nothing heavy; the last one is what training needs.
STATEMENTS = (
    BASELINE,
    f"import {OURS}",
    f"from {OURS}.tasks import masked_lm",
)

_CODE = """
import json, sys, time
began = time.perf_counter()
{statement}
seconds = time.perf_counter() - began
loaded = [name for name in {forbidden!r} if name in sys.modules]
print(json.dumps({{"seconds": seconds, "loaded": loaded}}))
"""


def measure(
    interpreter: str | SideError, repeats: int, threads: int, timeout: float
) -> tables.Table:
    """Times the import statements in fresh processes, in turns.

    Args:
        interpreter: Python of tfllm, or the reason why it has none.
        repeats: Processes per statement, after one that fills the caches.
        threads: Cores that may be used.
        timeout: Timeout of a process in seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    errors: dict[str, str] = {}
    loaded: dict[str, list[str]] = {}
    for repeat in range(repeats + 1):
        print(f"imports: round {repeat}/{repeats}", file=sys.stderr)
        for statement in STATEMENTS:
            try:
                answer = _import(interpreter, statement, threads, timeout)
            except SideError as error:
                errors[statement] = str(error)
                continue
            if repeat:
                seconds[statement].append(answer["seconds"])
            if statement != BASELINE:
                loaded[statement] = answer["loaded"]
    rows = [
        tables.Row(
            side=name,
            figures=_figures(seconds[name], seconds[BASELINE]),
            error=errors.get(name, ""),
            notes="" if name == BASELINE else _forbidden_note(loaded.get(name)),
        )
        for name in STATEMENTS
    ]
    return tables.Table(
        title="Import, fresh processes",
        rows=rows,
        details={"raw": seconds, "forbidden_modules_loaded": loaded},
    )


def _import(
    interpreter: str | SideError, statement: str, threads: int, timeout: float
) -> dict[str, Any]:
    if isinstance(interpreter, SideError):
        raise interpreter
    code = _CODE.format(statement=statement, forbidden=FORBIDDEN)
    try:
        done = subprocess.run(
            [interpreter, "-c", code],
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
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _figures(seconds: list[float], baseline: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    figures = {
        "import s": tables.summary(seconds)["median"],
        "least": min(seconds),
        "greatest": max(seconds),
    }
    if baseline:
        figures["above the baseline"] = (
            figures["import s"] - tables.summary(baseline)["median"]
        )
    return figures


def _forbidden_note(loaded: list[str] | None) -> str:
    if loaded is None:
        return ""
    if loaded:
        return f"loads {', '.join(loaded)}, which it must not"
    return f"loads none of {', '.join(FORBIDDEN)}"
