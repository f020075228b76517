"""Checks an export before it gets its version number.

First the graph is read: it may hold no op that the declared server lacks, no op
of Python or XLA, and no state that requests change. Then a process without
TensorFlow's Python package loads the moved folder, with XLA disabled and the
text ops of that server. It must answer as the task in Python does, and refuse
requests of wrong ranks, sizes and dtypes without ending.
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
from tfllm.runtime import replay, saved_model_file, servers
from tfllm.runtime.replay import Request
from tfllm.runtime.saved_model_file import SavedModelFile
from tfllm.serving import hard_requests
from tfllm.serving.hard_requests import HardRequest
from tfllm.serving.signatures.served_task import Arrays, Check

# Kernels that exist in Python only, ops that a server disables, and state that
# grows with requests.
FORBIDDEN = re.compile(
    r"(Eager)?PyFunc(Stateless)?|Xla.*|_?Xla.*|MutableHashTable.*"
    r"|MutableDenseHashTable.*|LookupTable(Insert|Remove|Import).*"
)
MAX_GRAPH_BYTES = 20 * 10**6
MAX_WEIGHT_RATIO = 1.02
# Room for the names and shapes of the weights.
_INDEX_BYTES = 1 << 16
RTOL, ATOL = 1e-4, 2e-5
_TIMEOUT = 3600


@dataclasses.dataclass(frozen=True)
class GateReport:
    """Report of the gate.

    Attributes:
        rows: Number of texts whose answers were compared.
        largest_difference: Largest difference of floats that should be equal.
        load_seconds: Seconds that the C++ loader took.
        run_seconds: Seconds that all requests took.
        refused: Number of malformed requests that the export refused.
    """

    rows: int
    largest_difference: float
    load_seconds: float
    run_seconds: float
    refused: int

    def __str__(self) -> str:
        """Returns one line."""
        return (
            f"{self.rows} rows as in Python (floats within "
            f"{self.largest_difference:.1e}), loaded in "
            f"{self.load_seconds:.1f} s, answered in {self.run_seconds:.1f} s; "
            f"{self.refused} malformed requests refused"
        )


def check(
    folder: pathlib.Path,
    checks: Sequence[Check],
    warm_up: Sequence[Request],
    server: str,
    weight_bytes: int,
) -> GateReport:
    """Checks an export.

    Args:
        folder: Folder of the version, moved since it was written.
        checks: Requests with the answers of the Python task.
        warm_up: Requests that must not fail.
        server: Oldest version of TensorFlow Serving that must load the export.
        weight_bytes: Bytes of the weights, each counted once.

    Raises:
        ValueError: The export does not pass; the message lists the problems.
    """
    problems = [
        *graph_problems(saved_model_file.read(folder), server),
        *size_problems(folder, weight_bytes),
    ]
    _raise(problems, server)
    requests = [*((c.signature, c.inputs) for c in checks), *warm_up]
    hard = hard_requests.of(requests)
    answers, seconds = run_apart(folder, requests, hard, server)
    largest = 0.0
    for case, answer in zip(checks, answers, strict=False):
        differing, difference = answer_problems(case, answer)
        problems += differing
        largest = max(largest, difference)
    rest = answers[len(checks) :]
    for (name, _), answer in zip(warm_up, rest, strict=False):
        if isinstance(answer, str):
            problems.append(f"a warm-up request of {name!r} fails: {answer}")
    for request, answer in zip(hard, rest[len(warm_up) :], strict=True):
        problem = hard_requests.problem(request, answer)
        problems += [problem] if problem else []
    _raise(problems, server)
    rows = sum(len(case.expected) for case in checks)
    refused = sum(request.outcome == "error" for request in hard)
    return GateReport(rows, largest, seconds["load"], seconds["run"], refused)


def graph_problems(file: SavedModelFile, server: str) -> list[str]:
    """Returns the parts of a graph that a server does not run."""
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
    """Returns the files that are larger than their weights explain."""
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
    folder: pathlib.Path,
    requests: Sequence[Request],
    hard: Sequence[HardRequest],
    server: str,
) -> tuple[list[Arrays | str], dict[str, float]]:
    """Runs requests in the C++ loader, in a separate process.

    Args:
        folder: Folder of the version.
        requests: Valid requests.
        hard: Malformed requests, which run after the valid ones.
        server: Version of TensorFlow Serving.

    Returns:
        Answers or error messages; seconds to load and to run.

    Raises:
        ValueError: The export does not load, or a request ends the process.
    """
    package = str(pathlib.Path(tfllm.__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as name:
        asked = pathlib.Path(name) / "requests"
        answered = pathlib.Path(name) / "answers"
        malformed = [(request.signature, request.inputs) for request in hard]
        replay.write_requests(requests, asked, malformed)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tfllm.runtime.replay"),
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
            status = f"exit status {done.returncode}, {lines[-1]}"
            if not answered.exists():
                raise ValueError(
                    f"the export must load in server {server}. Received: "
                    f"{status}"
                )
            number = len(replay.read_answers(answered))
            raise ValueError(
                "an export must outlive every request. Received: "
                f"{status}, at {_request_name(number, requests, hard)}. "
                "Nothing was exported."
            )
        seconds = json.loads(done.stdout.splitlines()[-1])
        return replay.read_answers(answered), seconds


def _request_name(
    number: int, requests: Sequence[Request], hard: Sequence[HardRequest]
) -> str:
    """Returns words for the request with this number."""
    if number < len(requests):
        return f"a request of {requests[number][0]!r}"
    if number < len(requests) + len(hard):
        request = hard[number - len(requests)]
        return f"a request of {request.signature!r} ({request.what})"
    return "the end"


def answer_problems(
    check: Check, answer: Arrays | str
) -> tuple[list[str], float]:
    """Compares an answer with that of the Python task.

    Returns:
        Descriptions of what differs; largest difference of floats.
    """
    if isinstance(answer, str):
        return [f"a request of {check.signature!r} fails: {answer}"], 0.0
    problems, largest = [], 0.0
    for row, expected in enumerate(check.expected):
        for name, expected_array in expected.items():
            array = answer[name]
            if len(array) != len(check.expected):
                problems.append(
                    f"`{name}` of {check.signature!r} has {len(array)} rows "
                    f"for {len(check.expected)} texts"
                )
                continue
            inside = tuple(slice(0, size) for size in expected_array.shape)
            computed = array[row][inside] if inside else array[row]
            same = np.shape(computed) == expected_array.shape
            if same and expected_array.dtype.kind == "f":
                gaps = np.abs(computed - expected_array)
                largest = max(largest, float(gaps.max(initial=0.0)))
                same = np.allclose(
                    computed, expected_array, rtol=RTOL, atol=ATOL
                )
            elif same:
                same = bool(np.all(computed == expected_array))
            if not same:
                problems.append(
                    f"`{name}` of {check.signature!r}, row {row} "
                    f"({_shown(check.inputs, row)}) is {computed!s:.200}, "
                    f"in Python {expected_array!s:.200}"
                )
    return problems, largest


def _shown(inputs: Arrays, row: int) -> str:
    """Returns the inputs of a row as short text."""
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
