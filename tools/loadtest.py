r"""Loads a server as its clients would, and shows how long they wait.

    python -m tools.loadtest --address=127.0.0.1:8501 --model_name=bert \
        --rates=5,10,20,40 --seconds=20 --output_dir=load

The load is open: requests come at random moments at a given rate, whether or
not the server keeps up, and each one's latency counts from the moment at which
it should have been sent. A closed loop, where a client waits for one answer
before it asks again, would hide what a slow server does to the others.

Prints a table and writes load.json and load.png. The client takes some CPU
itself: run it on another machine where the figures matter.
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

from tfllm import flags
from tfllm.file_access import make_folder, match_files, write_atomically

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
    """A connection of its own."""

    def send(self, text: str) -> str:
        """Sends one request; returns "OK", or what went wrong."""

    def close(self) -> None:
        """Closes it."""


@dataclasses.dataclass
class Measured:
    """What came of one rate.

    Attributes:
        rate: Requests per second that were wanted.
        seconds: From the first moment to the last answer.
        latencies: Of requests that were answered, in ms, sorted.
        outcomes: "OK" or the kind of error -> how many.
        most_late_ms: How late a request was sent at worst: the client's own
            fault, unless the server kept all of its connections busy.
    """

    rate: float
    seconds: float
    latencies: list[float]
    outcomes: dict[str, int]
    most_late_ms: float

    @property
    def errors(self) -> int:
        """Requests that did not get an answer."""
        return sum(n for kind, n in self.outcomes.items() if kind != "OK")

    def percentile(self, percent: float) -> float:
        """Returns a latency in ms that so many percent stay below."""
        if not self.latencies:
            return float("nan")
        place = min(
            int(len(self.latencies) * percent / 100), len(self.latencies) - 1
        )
        return self.latencies[place]


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Server")
    group.string("address", "127.0.0.1:8501", "Host and port.")
    group.choice("api", "rest", list(CLIENTS), "Which one listens there.")
    group.string("model_name", "default", "Name of the model.")
    group.string("signature", "", "Signature; empty: the default.")
    group.string("input_name", "text", "Its input, for gRPC.")
    group.string("api_key", "", "Sent as x-api-key.")
    group = flags.Group("Load")
    group.string("text_files", "", "Globs of texts to send, one per line.")
    group.string("rates", "10,20,50,100", "Requests per second.")
    group.number("seconds", 10.0, "For each rate.")
    group.integer("connections", 64, "At most at once.")
    group.number("timeout_seconds", 30.0, "For an answer.")
    group.integer("seed", 0, "Of the moments and the order of the texts.")
    group.string("output_dir", "", "Folder for load.json and load.png.")


def main() -> int:
    """Loads the server at all rates; returns 1 if a request failed."""
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
    found = []
    for rate in rates:
        found.append(
            measure(
                make_client,
                texts,
                rate,
                FLAGS.seconds,
                FLAGS.connections,
                FLAGS.seed,
            )
        )
        print(f"{rate:g}/s: {found[-1].percentile(50):.2f} ms", file=sys.stderr)
    print(table(found))
    if FLAGS.output_dir:
        make_folder(FLAGS.output_dir)
        write_json(found, os.path.join(FLAGS.output_dir, "load.json"))
        draw(found, os.path.join(FLAGS.output_dir, "load.png"))
    return int(any(measured.errors for measured in found))


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
    """Sends the body of a request at once, not after the head was seen."""

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class RestClient:
    """Talks REST."""

    def __init__(self) -> None:
        """See the class."""
        host, _, port = FLAGS.address.rpartition(":")
        self._path = f"/v1/models/{FLAGS.model_name}:predict"
        self._headers = {"x-api-key": FLAGS.api_key} if FLAGS.api_key else {}
        self._connection = _Connection(
            host, int(port), timeout=FLAGS.timeout_seconds
        )

    def send(self, text: str) -> str:
        """Sends one request; returns "OK", or what went wrong."""
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
    """Talks gRPC."""

    def __init__(self) -> None:
        """See the class."""
        # Only here: the stubs are an extra of the package.
        import grpc

        from tfllm.serving.server import protos

        self._failure = grpc.RpcError
        self._request = protos.PredictRequest()
        self._request.model_spec.name = FLAGS.model_name
        self._request.model_spec.signature_name = FLAGS.signature
        # Without the option, all channels of a process share a connection.
        self._channel = grpc.insecure_channel(
            FLAGS.address, [("grpc.use_local_subchannel_pool", 1)]
        )
        self._stub = protos.PredictionServiceStub(self._channel)
        self._metadata = [("x-api-key", FLAGS.api_key)] if FLAGS.api_key else []

    def send(self, text: str) -> str:
        """Sends one request; returns "OK", or what went wrong."""
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
    """Sends requests at random moments.

    Args:
        make_client: Gives each of the threads its client.
        texts: Sent in random order.
        rate: Requests per second.
        seconds: How long they keep coming.
        connections: At most at once.
        seed: Of moments and order.
    """
    rng = random.Random(seed)
    moments = list(
        itertools.takewhile(
            lambda moment: moment < seconds,
            itertools.accumulate(rng.expovariate(rate) for _ in iter(int, 1)),
        )
    ) or [0.0]
    chosen = rng.choices(texts, k=len(moments))
    numbers = iter(range(len(moments)))
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
            due = start + moments[i]
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
        for _ in range(min(connections, len(moments)))
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


def table(found: Sequence[Measured]) -> str:
    """Returns a line per rate, in Markdown."""
    heads = [f"p{percent} ms" for percent in PERCENTILES]
    lines = [
        f"| wanted/s | answered/s | {' | '.join(heads)} | max ms | errors |",
        "|---" * (len(heads) + 4) + "|",
    ]
    for m in found:
        cells = [f"{m.rate:g}", f"{len(m.latencies) / m.seconds:.1f}"]
        cells += [f"{m.percentile(p):.2f}" for p in (*PERCENTILES, 100)]
        kinds = (f"{n} {k}" for k, n in sorted(m.outcomes.items()) if k != "OK")
        cells.append(", ".join(kinds) or "0")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_json(found: Sequence[Measured], path: str) -> None:
    """Writes the figures, without the single latencies."""
    records = [
        {
            "rate": m.rate,
            "answered_per_second": len(m.latencies) / m.seconds,
            **{f"p{p}_ms": m.percentile(p) for p in PERCENTILES},
            "max_ms": m.percentile(100),
            "outcomes": m.outcomes,
            "most_late_ms": m.most_late_ms,
        }
        for m in found
    ]
    with write_atomically(path) as file:
        json.dump(records, file, indent=1)


def draw(found: Sequence[Measured], path: str) -> None:
    """Draws latencies over the rate, and their distribution per rate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    rates = [m.rate for m in found]
    for percent in PERCENTILES:
        values = [m.percentile(percent) for m in found]
        left.plot(rates, values, marker="o", label=f"p{percent}")
    for m in found:
        if m.errors:
            share = m.errors / sum(m.outcomes.values())
            left.annotate(
                f"{share:.0%} errors", (m.rate, m.percentile(50)), fontsize=8
            )
        if m.latencies:
            count = len(m.latencies)
            shares = [(i + 1) / count for i in range(count)]
            right.step(m.latencies, shares, label=f"{m.rate:g}/s")
    left.set(xlabel="requests per second", ylabel="ms", yscale="log")
    left.set_title("Latency")
    right.set(xlabel="ms", ylabel="share of requests", xscale="log")
    right.set_title("Answered within")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    define()
    flags.run(main)
