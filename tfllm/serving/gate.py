"""What an export must show before it gets its name.

First the file is read: no op that the declared server lacks, none of Python or
XLA, no state that requests change. Then a process without TensorFlow's Python
package loads the folder from where it was moved to, with XLA disabled and the
text ops of that server, and must answer as the task in Python does.
"""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

import tfllm
from tfllm.serving import replay, saved_model_file, servers
from tfllm.serving.replay import Request
from tfllm.serving.saved_model_file import SavedModelFile
from tfllm.serving.served_task import Arrays, Check

# Kernels that exist in Python only; ops that a server disables; state that
# grows with what requests hold.
FORBIDDEN = re.compile(
    r"(Eager)?PyFunc(Stateless)?|Xla.*|_?Xla.*|MutableHashTable.*"
    r"|MutableDenseHashTable.*|LookupTable(Insert|Remove|Import).*"
)
MAX_GRAPH_BYTES = 20 * 10**6
MAX_WEIGHT_RATIO = 1.02
# Names and shapes of the weights, whatever their size.
_INDEX_BYTES = 1 << 16
RTOL, ATOL = 1e-4, 2e-5
_TIMEOUT = 3600


@dataclasses.dataclass(frozen=True)
class GateReport:
    """What the gate saw.

    Attributes:
        rows: Texts whose answers were compared.
        largest_difference: Between two floats that should be equal.
        load_seconds: Of the C++ loader.
        run_seconds: Of all requests.
    """

    rows: int
    largest_difference: float
    load_seconds: float
    run_seconds: float

    def __str__(self) -> str:
        """Returns one line."""
        return (
            f"{self.rows} rows as in Python (floats within "
            f"{self.largest_difference:.1e}), loaded in "
            f"{self.load_seconds:.1f} s, answered in {self.run_seconds:.1f} s"
        )


def check(
    folder: pathlib.Path,
    checks: Sequence[Check],
    warm_up: Sequence[Request],
    server: str,
    weight_bytes: int,
) -> GateReport:
    """Tries an export.

    Args:
        folder: The version, moved since it was written.
        checks: Requests with the answers of the Python task.
        warm_up: Requests that must not fail.
        server: Oldest version of TensorFlow Serving that must load it.
        weight_bytes: Bytes of the weights, each counted once.

    Raises:
        ValueError: It does not pass; the message says all that is wrong.
    """
    problems = [
        *graph_problems(saved_model_file.read(folder), server),
        *size_problems(folder, weight_bytes),
    ]
    _raise(problems, server)
    requests = [*((c.signature, c.inputs) for c in checks), *warm_up]
    answers, seconds = run_apart(folder, requests, server)
    largest = 0.0
    for one, answer in zip(checks, answers, strict=False):
        found, difference = answer_problems(one, answer)
        problems += found
        largest = max(largest, difference)
    for (name, _), answer in zip(warm_up, answers[len(checks) :], strict=True):
        if isinstance(answer, str):
            problems.append(f"a warm-up request of {name!r} fails: {answer}")
    _raise(problems, server)
    rows = sum(len(one.expected) for one in checks)
    return GateReport(rows, largest, seconds["load"], seconds["run"])


def graph_problems(file: SavedModelFile, server: str) -> list[str]:
    """Returns what a server would not run."""
    problems = [
        f"op {op} does not run on a server"
        for op in file.ops
        if FORBIDDEN.fullmatch(op)
    ]
    problems += [
        f"op {op} is in no server before {servers.OPS_SINCE[op]}"
        for op in servers.missing_ops(set(file.ops), server)
    ]
    problems += [f"function {name} asks for XLA" for name in file.compiled]
    problems += [
        f"a node asks for the device {device}"
        for device in sorted(file.devices)
        if "CPU" not in device
    ]
    return problems


def size_problems(folder: pathlib.Path, weight_bytes: int) -> list[str]:
    """Returns files that are larger than what they hold."""
    graph = (folder / saved_model_file.SAVED_MODEL_FILE).stat().st_size
    stored = sum(
        path.stat().st_size for path in (folder / "variables").glob("*.data-*")
    )
    problems = []
    if graph > MAX_GRAPH_BYTES:
        problems.append(f"the graph has {graph} bytes: weights lie in it")
    if stored > MAX_WEIGHT_RATIO * weight_bytes + _INDEX_BYTES:
        problems.append(
            f"the variables have {stored} bytes for weights of {weight_bytes}"
        )
    return problems


def run_apart(
    folder: pathlib.Path, requests: Sequence[Request], server: str
) -> tuple[list[Arrays | str], dict[str, float]]:
    """Runs requests in the C++ loader, in a process of its own.

    Returns:
        The answers, or errors; and the seconds that it took.

    Raises:
        ValueError: It does not load.
    """
    package = str(pathlib.Path(tfllm.__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as name:
        asked = pathlib.Path(name) / "requests"
        answered = pathlib.Path(name) / "answers"
        replay.write_requests(requests, asked)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tfllm.serving.replay"),
                *(str(folder), server, str(asked), str(answered)),
            ],
            env={
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "-1",
                "PYTHONPATH": os.pathsep.join(
                    [package, *filter(None, [os.environ.get("PYTHONPATH")])]
                ),
            },
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise ValueError(
                f"the export must load in server {server}. Received: exit "
                f"status {done.returncode}, {lines[-1]}"
            )
        seconds = json.loads(done.stdout.splitlines()[-1])
        return replay.read_answers(answered), seconds


def answer_problems(
    one: Check, answer: Arrays | str
) -> tuple[list[str], float]:
    """Compares an answer with that of the Python task.

    Returns:
        What differs, and the largest difference of floats.
    """
    if isinstance(answer, str):
        return [f"a request of {one.signature!r} fails: {answer}"], 0.0
    problems, largest = [], 0.0
    for row, expected in enumerate(one.expected):
        for name, value in expected.items():
            array = answer[name]
            if len(array) != len(one.expected):
                problems.append(
                    f"`{name}` of {one.signature!r} has {len(array)} rows for "
                    f"{len(one.expected)} texts"
                )
                continue
            inside = tuple(slice(0, size) for size in value.shape)
            found = array[row][inside] if inside else array[row]
            same = np.shape(found) == value.shape
            if same and value.dtype.kind == "f":
                gaps = np.abs(found - value)
                largest = max(largest, float(gaps.max(initial=0.0)))
                same = np.allclose(found, value, rtol=RTOL, atol=ATOL)
            elif same:
                same = bool(np.all(found == value))
            if not same:
                problems.append(
                    f"`{name}` of {one.signature!r}, row {row} "
                    f"({_shown(one.inputs, row)}) is {found!s:.200}, in Python "
                    f"{value!s:.200}"
                )
    return problems, largest


def _shown(inputs: Arrays, row: int) -> str:
    """Returns the inputs of a row, shortened."""
    return ", ".join(f"{n}={a[row]!s:.60}" for n, a in inputs.items())


def _raise(problems: list[str], server: str) -> None:
    """Raises ValueError if there are problems."""
    if problems:
        shown = "; ".join(problems[:8])
        more = f"; and {len(problems) - 8} more" if problems[8:] else ""
        raise ValueError(
            f"an export must pass the gate for server {server}. Received: "
            f"{shown}{more}. Nothing was exported."
        )
