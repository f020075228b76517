r"""Measures the latencies of a server under load.

    python -m tools.loadtest --address=127.0.0.1:8501 --model_name=bert \
        --rates=5,10,20,40 --seconds=20 --output_dir=load

The load is open: requests arrive at random times at a fixed average rate,
whether or not the server keeps up, and a latency counts from the time at which
the request was due. A closed loop, where each client waits for its answer
before it sends the next request, would hide the waiting times of a slow server.

Prints a table and writes load.json and load.png. The client uses CPU as well:
run it on another machine if the figures matter.
"""

import dataclasses
import http.client
import itertools
import json
import os
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from absl import flags as absl_flags

from tfllm.file_access import make_folder, match_files, write_atomically
from tfllm.runs import flags

FLAGS = absl_flags.FLAGS
PERCENTILES = (50, 90, 99)
TEXTS = (
    "a short text",
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Two roads diverged in a yellow wood, and sorry I could not travel both "
    "and be one traveler, long I stood and looked down one as far as I could "
    "to where it bent in the undergrowth.",
)


class Client(Protocol):
    """A connection to the server."""

    def send(self, text: str) -> str:
        """Sends a request; returns "OK" or the kind of error."""

    def close(self) -> None:
        """Closes the connection."""


@dataclasses.dataclass
class Measured:
    """Measurements at one rate.

    Attributes:
        rate: Target rate in requests per second.
        seconds: Seconds from the start to the last answer.
        latencies: Latencies of answered requests in ms, sorted.
        outcomes: "OK" or kind of error -> number of requests.
        most_late_ms: Largest delay of sending a request. The client is too
            slow, unless the server kept all connections busy.
    """

    rate: float
    seconds: float
    latencies: list[float]
    outcomes: dict[str, int]
    most_late_ms: float

    @property
    def errors(self) -> int:
        """Number of requests without an answer."""
        return sum(n for kind, n in self.outcomes.items() if kind != "OK")

    def percentile(self, percent: float) -> float:
        """Returns a percentile of the latencies in ms."""
        if not self.latencies:
            return float("nan")
        place = min(
            int(len(self.latencies) * percent / 100), len(self.latencies) - 1
        )
        return self.latencies[place]


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Load")
    group.string(
        "rates",
        "10,20,50,100",
        "Rates to measure one after another, in requests per second, "
        "comma-separated.",
    )
    group.number("seconds", 10.0, "Seconds to send requests at each rate.")
    group.string(
        "text_files",
        "",
        "Files with the texts to send, one per line: paths and globs, "
        "comma-separated. Default: three built-in texts.",
    )
    group.string(
        "output_dir",
        "",
        "Folder for load.json and load.png. Default: they are not written.",
    )
    group.integer(
        "connections", 64, "Largest number of connections to the server."
    )
    group.number(
        "timeout_seconds",
        30.0,
        "Seconds to wait for an answer before giving up.",
    )
    group.integer(
        "seed", 0, "Seed of the arrival times and of the order of the texts."
    )
    group = flags.Group("Server")
    group.string("address", "127.0.0.1:8501", "Server to load, as HOST:PORT.")
    group.choice(
        "api", "rest", list(CLIENTS), "API that the server offers at --address."
    )
    group.string("model_name", "default", "Name of the model in requests.")
    group.string(
        "signature",
        "",
        "Name of the signature to call. Default: the model's default "
        "signature.",
    )
    group.string(
        "input_name",
        "text",
        "Name of the text input of the signature, for --api=grpc.",
    )
    group.string(
        "api_key",
        "",
        "Key to send in the header x-api-key. Default: no key.",
    )


def main() -> int:
    """Measures all rates; returns 1 if a request failed."""
    rates = parse_rates(FLAGS.rates)
    if not FLAGS.connections or not FLAGS.seconds:
        raise ValueError(
            "`connections` and `seconds` must be positive. Received: "
            f"{FLAGS.connections} and {FLAGS.seconds}"
        )
    texts = read_texts()
    make_client = CLIENTS[FLAGS.api]
    client = make_client()
    first = client.send(texts[0])
    client.close()
    if first != "OK":
        raise ValueError(
            f"`address` must answer. Received: {FLAGS.address}, {first}"
        )
    results = []
    for rate in rates:
        results.append(
            measure(
                make_client,
                texts,
                rate,
                FLAGS.seconds,
                FLAGS.connections,
                FLAGS.seed,
            )
        )
        median = results[-1].percentile(50)
        print(f"{rate:g}/s: {median:.2f} ms", file=sys.stderr)
    print(table(results))
    if FLAGS.output_dir:
        make_folder(FLAGS.output_dir)
        write_json(results, os.path.join(FLAGS.output_dir, "load.json"))
        draw(results, os.path.join(FLAGS.output_dir, "load.png"))
    return int(any(measured.errors for measured in results))


def parse_rates(text: str) -> list[float]:
    """Returns comma-separated rates."""
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(0 < rate < 1e6 for rate in rates):
        raise ValueError(
            "`rates` must be positive numbers, such as 10,20. Received: "
            f"{text!r}"
        )
    return rates


def read_texts() -> list[str]:
    """Returns the texts to send."""
    if not FLAGS.text_files:
        return list(TEXTS)
    texts = []
    for path in match_files(FLAGS.text_files, "text_files"):
        with open(path, encoding="utf-8") as file:
            texts += [line.rstrip("\n") for line in file if line.strip()]
    if not texts:
        raise ValueError(
            "`text_files` must hold texts. Received: "
            f"{FLAGS.text_files}, all blank"
        )
    return texts


class _Connection(http.client.HTTPConnection):
    """A connection that sends head and body of a request without delay."""

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class RestClient:
    """Sends requests over REST."""

    def __init__(self) -> None:
        host, _, port = FLAGS.address.rpartition(":")
        self._path = f"/v1/models/{FLAGS.model_name}:predict"
        self._headers = {"x-api-key": FLAGS.api_key} if FLAGS.api_key else {}
        self._connection = _Connection(
            host, int(port), timeout=FLAGS.timeout_seconds
        )

    def send(self, text: str) -> str:
        """Sends a request; returns "OK" or the kind of error."""
        body: dict[str, Any] = {"instances": [text]}
        if FLAGS.signature:
            body["signature_name"] = FLAGS.signature
        connection = self._connection
        try:
            content = json.dumps(body)
            connection.request("POST", self._path, content, self._headers)
            response = connection.getresponse()
            response.read()
        except TimeoutError:
            connection.close()
            return "timeout"
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return type(error).__name__
        return "OK" if response.status == 200 else f"HTTP {response.status}"

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class GrpcClient:
    """Sends requests over gRPC."""

    def __init__(self) -> None:
        # Imported here: the stubs need an extra of the package.
        import grpc

        from tfllm.server import protos

        self._failure = grpc.RpcError
        self._request = protos.PredictRequest()
        self._request.model_spec.name = FLAGS.model_name
        self._request.model_spec.signature_name = FLAGS.signature
        # Without this option all channels of a process share a connection.
        self._channel = grpc.insecure_channel(
            FLAGS.address, [("grpc.use_local_subchannel_pool", 1)]
        )
        self._stub = protos.PredictionServiceStub(self._channel)
        self._metadata = [("x-api-key", FLAGS.api_key)] if FLAGS.api_key else []

    def send(self, text: str) -> str:
        """Sends a request; returns "OK" or the kind of error."""
        tensor = self._request.inputs[FLAGS.input_name]
        tensor.Clear()
        tensor.dtype = 7  # DT_STRING
        tensor.tensor_shape.dim.add(size=1)
        tensor.string_val.append(text.encode())
        try:
            self._stub.Predict(
                self._request,
                timeout=FLAGS.timeout_seconds,
                metadata=self._metadata,
            )
        except self._failure as error:
            return error.code().name
        return "OK"

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


CLIENTS: dict[str, Callable[[], Client]] = {
    "rest": RestClient,
    "grpc": GrpcClient,
}


def measure(
    make_client: Callable[[], Client],
    texts: Sequence[str],
    rate: float,
    seconds: float,
    connections: int,
    seed: int = 0,
) -> Measured:
    """Sends requests at random times.

    Args:
        make_client: Creates the client of a thread.
        texts: Texts, sent in random order.
        rate: Requests per second.
        seconds: Seconds to send requests.
        connections: Largest number of connections.
        seed: Seed of the times and the order.
    """
    rng = random.Random(seed)
    times = list(
        itertools.takewhile(
            lambda due: due < seconds,
            itertools.accumulate(rng.expovariate(rate) for _ in iter(int, 1)),
        )
    ) or [0.0]
    chosen = rng.choices(texts, k=len(times))
    numbers = iter(range(len(times)))
    latencies: list[float] = []
    outcomes: Counter[str] = Counter()
    late = [0.0]
    lock = threading.Lock()
    start = time.perf_counter() + 0.2

    def work() -> None:
        client = make_client()
        while True:
            with lock:
                i = next(numbers, None)
            if i is None:
                client.close()
                return
            due = start + times[i]
            time.sleep(max(due - time.perf_counter(), 0))
            sent = time.perf_counter()
            outcome = client.send(chosen[i])
            end = time.perf_counter()
            with lock:
                outcomes[outcome] += 1
                late[0] = max(late[0], sent - due)
                if outcome == "OK":
                    latencies.append((end - due) * 1e3)

    threads = [
        threading.Thread(target=work)
        for _ in range(min(connections, len(times)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Measured(
        rate,
        time.perf_counter() - start,
        sorted(latencies),
        dict(outcomes),
        late[0] * 1e3,
    )


def table(results: Sequence[Measured]) -> str:
    """Returns a Markdown table with a line per rate."""
    heads = [f"p{percent} ms" for percent in PERCENTILES]
    lines = [
        f"| target/s | answered/s | {' | '.join(heads)} | max ms | errors |",
        "|---" * (len(heads) + 4) + "|",
    ]
    for m in results:
        cells = [f"{m.rate:g}", f"{len(m.latencies) / m.seconds:.1f}"]
        cells += [f"{m.percentile(p):.2f}" for p in (*PERCENTILES, 100)]
        kinds = (f"{n} {k}" for k, n in sorted(m.outcomes.items()) if k != "OK")
        cells.append(", ".join(kinds) or "0")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_json(results: Sequence[Measured], path: str) -> None:
    """Writes the figures, without individual latencies."""
    records = [
        {
            "rate": m.rate,
            "answered_per_second": len(m.latencies) / m.seconds,
            **{f"p{p}_ms": m.percentile(p) for p in PERCENTILES},
            "max_ms": m.percentile(100),
            "outcomes": m.outcomes,
            "most_late_ms": m.most_late_ms,
        }
        for m in results
    ]
    with write_atomically(path) as file:
        json.dump(records, file, indent=1)


def draw(results: Sequence[Measured], path: str) -> None:
    """Draws latencies by rate, and their distribution at each rate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    rates = [m.rate for m in results]
    for percent in PERCENTILES:
        values = [m.percentile(percent) for m in results]
        left.plot(rates, values, marker="o", label=f"p{percent}")
    for m in results:
        if m.errors:
            share = m.errors / sum(m.outcomes.values())
            left.annotate(
                f"{share:.1%} errors",
                (m.rate, m.percentile(50)),
                xytext=(-4, -12),
                textcoords="offset points",
                ha="right",
                fontsize=8,
            )
        if m.latencies:
            count = len(m.latencies)
            shares = [(i + 1) / count for i in range(count)]
            right.step(m.latencies, shares, label=f"{m.rate:g}/s")
    left.set(xlabel="requests per second", ylabel="latency (ms)", yscale="log")
    left.set_title("Latency by rate")
    right.set(
        xlabel="latency (ms)",
        ylabel="cumulative share of the requests",
        xscale="log",
    )
    right.set_title("Distribution of the latency")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    flags.parse(define)
    flags.run(main)
