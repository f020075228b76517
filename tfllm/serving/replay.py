"""Runs requests through the C++ loader and writes down the answers.

    python -m tfllm.serving.replay FOLDER SERVER REQUESTS ANSWERS

A process of its own, in which TensorFlow's Python package is never imported:
what it cannot do, a server cannot do. REQUESTS and ANSWERS are files of one
JSON record per line.
"""

import base64
import json
import pathlib
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfllm.serving.c_loader import RuntimeFailure, SavedModel

Request = tuple[str, dict[str, np.ndarray]]


def write_requests(requests: Iterable[Request], path: pathlib.Path) -> None:
    """Writes requests: names of signatures with their inputs."""
    lines = [
        json.dumps({"signature": name, "arrays": to_json(arrays)})
        for name, arrays in requests
    ]
    path.write_text("".join(f"{line}\n" for line in lines))


def read_answers(path: pathlib.Path) -> list[dict[str, np.ndarray] | str]:
    """Returns the answers: arrays by name, or what went wrong."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        record["error"] if "error" in record else from_json(record["arrays"])
        for record in records
    ]


def to_json(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns arrays as JSON: bytes in base64, floats bit by bit."""
    found = {}
    for name, array in arrays.items():
        is_text = array.dtype == object
        content: Any = (
            [base64.b64encode(item).decode() for item in array.flat]
            if is_text
            else base64.b64encode(
                np.ascontiguousarray(array).tobytes()
            ).decode()
        )
        found[name] = {
            "dtype": "string" if is_text else array.dtype.name,
            "shape": list(array.shape),
            "content": content,
        }
    return found


def from_json(records: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns what `to_json` was given."""
    found = {}
    for name, record in records.items():
        if record["dtype"] == "string":
            array = np.empty(len(record["content"]), object)
            array[:] = [base64.b64decode(item) for item in record["content"]]
        else:
            content = base64.b64decode(record["content"])
            array = np.frombuffer(content, record["dtype"])
        found[name] = array.reshape(record["shape"])
    return found


def main(folder: str, server: str, requests: str, answers: str) -> None:
    """Replays; prints seconds to load and to run."""
    start = time.perf_counter()
    model = SavedModel(folder, server=server)
    loaded = time.perf_counter()
    lines = []
    for line in pathlib.Path(requests).read_text().splitlines():
        record = json.loads(line)
        try:
            found = model.run(record["signature"], from_json(record["arrays"]))
            lines.append(json.dumps({"arrays": to_json(found)}))
        except (ValueError, RuntimeFailure) as error:
            lines.append(json.dumps({"error": str(error)}))
    done = time.perf_counter()
    model.close()
    assert "tensorflow" not in sys.modules
    pathlib.Path(answers).write_text("".join(f"{line}\n" for line in lines))
    print(json.dumps({"load": loaded - start, "run": done - loaded}))


if __name__ == "__main__":
    main(*sys.argv[1:])
