"""Runs requests through the C++ loader and writes the answers.

    python -m tfllm.runtime.replay FOLDER SERVER REQUESTS ANSWERS

A separate process that never imports TensorFlow's Python package: what fails
here fails on a server. REQUESTS and ANSWERS hold one JSON record per line.
"""

import base64
import json
import pathlib
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfllm.runtime.c_loader import RuntimeFailure, SavedModel

Request = tuple[str, dict[str, np.ndarray]]


def write_requests(
    requests: Iterable[Request],
    path: pathlib.Path,
    unchecked: Iterable[Request] = (),
) -> None:
    """Writes requests to a file, one JSON record per line.

    Args:
        requests: Valid requests: signature name and inputs.
        path: File to write.
        unchecked: Requests that the graph should refuse.
    """
    lines = [
        json.dumps(
            {
                "signature": name,
                "arrays": to_json(arrays),
                "is_checked": is_checked,
            }
        )
        for group, is_checked in ((requests, True), (unchecked, False))
        for name, arrays in group
    ]
    path.write_text("".join(f"{line}\n" for line in lines))


def read_answers(path: pathlib.Path) -> list[dict[str, np.ndarray] | str]:
    """Returns the answers: arrays by name, or an error message."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        record["error"] if "error" in record else from_json(record["arrays"])
        for record in records
    ]


def to_json(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns arrays as JSON: bytes in base64, floats bit for bit."""
    records = {}
    for name, array in arrays.items():
        is_text = array.dtype == object
        content: Any = (
            [base64.b64encode(item).decode() for item in array.flat]
            if is_text
            else base64.b64encode(
                np.ascontiguousarray(array).tobytes()
            ).decode()
        )
        records[name] = {
            "dtype": "string" if is_text else array.dtype.name,
            "shape": list(array.shape),
            "content": content,
        }
    return records


def from_json(records: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the arrays that `to_json` wrote."""
    arrays = {}
    for name, record in records.items():
        if record["dtype"] == "string":
            array = np.empty(len(record["content"]), object)
            array[:] = [base64.b64decode(item) for item in record["content"]]
        else:
            content = base64.b64decode(record["content"])
            array = np.frombuffer(content, record["dtype"])
        arrays[name] = array.reshape(record["shape"])
    return arrays


def main(folder: str, server: str, requests: str, answers: str) -> None:
    """Replays the requests; prints the seconds to load and to run."""
    start = time.perf_counter()
    model = SavedModel(folder, server=server)
    loaded = time.perf_counter()
    with open(answers, "w") as file:
        for line in pathlib.Path(requests).read_text().splitlines():
            record = json.loads(line)
            run = model.run if record["is_checked"] else model.run_unchecked
            try:
                outputs = run(record["signature"], from_json(record["arrays"]))
                answer: dict[str, Any] = {"arrays": to_json(outputs)}
            except (ValueError, RuntimeFailure) as error:
                answer = {"error": str(error)}
            # Written at once: the next request may crash the process.
            print(json.dumps(answer), file=file, flush=True)
    done = time.perf_counter()
    model.close()
    assert "tensorflow" not in sys.modules
    print(json.dumps({"load": loaded - start, "run": done - loaded}))


if __name__ == "__main__":
    main(*sys.argv[1:])
