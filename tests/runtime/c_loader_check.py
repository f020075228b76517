"""Runs a SavedModel of small_saved_model without tensorflow.

Prints what came out as one line of JSON.
"""

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tfllm.runtime.c_loader import RuntimeFailure, SavedModel


def answers(model: SavedModel, texts: list[str]) -> dict[str, Any]:
    folded = model.run("serving_default", {"text": texts})
    raw = np.array([b"AB", b"C"], object)
    rows = np.arange(6, dtype="float32").reshape(2, 3)
    more = np.array([10, 20])
    return {
        "folded": [text.decode() for text in folded["folded"]],
        "bytes": folded["bytes"].tolist(),
        "dtype": folded["bytes"].dtype.name,
        "raw": [
            text.decode()
            for text in model.run("serving_default", {"text": raw}, ["folded"])[
                "folded"
            ]
        ],
        "total": model.run("total", {"rows": rows, "more": more})[
            "total"
        ].tolist(),
        "empty": model.run("serving_default", {"text": []})["folded"].shape,
    }


def error(function: Callable[[], Any]) -> list[Any]:
    try:
        function()
    except (ValueError, RuntimeFailure) as found:
        return [type(found).__name__, getattr(found, "code", 0), str(found)]
    return []


def errors(model: SavedModel) -> dict[str, list[Any]]:
    rows = np.ones((2, 3), "float32")
    more = np.array([10, 20])
    both = {"rows": rows, "more": more}
    forever = {"count": np.array([10**9], "int32")}
    return {
        "signature": error(lambda: model.run("none", {})),
        "inputs": error(lambda: model.run("total", {"rows": rows})),
        "outputs": error(lambda: model.run("total", both, ["a"])),
        "dtype": error(lambda: model.run("total", {**both, "more": rows})),
        "runtime": error(
            lambda: model.run_unchecked("total", {**both, "more": np.arange(5)})
        ),
        "timeout": error(lambda: model.run("spin", forever, timeout_ms=200)),
        "server": error(lambda: SavedModel(model.folder, server="2.12.1")),
    }


def wrong_answers(model: SavedModel) -> list[str]:
    """Returns what eight clients at once got wrong."""
    wrong = []

    def client(number: int) -> None:
        for i in range(50):
            text = f"CLIENT {number} {i} " + "X" * i
            answer = model.run("serving_default", {"text": [text]})
            if answer["folded"][0].decode() != text.lower():
                wrong.append(text)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def growth(model: SavedModel) -> int:
    """Returns the bytes that 200 MB of text, in and out, left behind."""

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    texts = ["y" * 20_000] * 50
    for _ in range(20):
        model.run("serving_default", {"text": texts})
    before = resident()
    for _ in range(200):
        model.run("serving_default", {"text": texts})
    return resident() - before


def close_while_running(model: SavedModel) -> list[str]:
    """Returns what ended, in this order."""
    order: list[str] = []

    def run() -> None:
        model.run("spin", {"count": np.array([20_000], "int32")})
        order.append("run")

    thread = threading.Thread(target=run)
    thread.start()
    while not model._running:
        pass
    model.close()
    order.append("close")
    thread.join()
    model.close()
    return order


def main() -> None:
    model = SavedModel(sys.argv[1], intra_threads=1, inter_threads=1)
    found = answers(model, json.loads(sys.argv[2]))
    found["errors"] = errors(model)
    found["wrong"] = wrong_answers(model)
    found["growth"] = growth(model)
    found["order"] = close_while_running(model)
    found["errors"]["closed"] = error(
        lambda: model.run("serving_default", {"text": []})
    )
    found["tensorflow"] = "tensorflow" in sys.modules
    print(json.dumps(found))


if __name__ == "__main__":
    main()
