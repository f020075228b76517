"""Measures a classifier over REST: tfllm, and Transformers behind FastAPI.

Both serve the same model folder and may use the same cores. Transformers is
measured with one process of a thread per core, and with a process per core. The
client runs on the same machine and takes a little CPU from both.
"""

import contextlib
import dataclasses
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from tools.peers import environments, http_client, serving_texts, tables
from tools.peers.http_client import Client
from tools.peers.server_process import ServerProcess, free_port
from tools.peers.sides import OURS, REPOSITORY
from tools.peers.turns import TurnsConfig
from tools.peers.worker import SideError, last_lines

PEER = "transformers"
CLIENTS = 16
NUM_WORDS = (24, 120)
# Words of a text in the measurement with many clients.
_LOAD_WORDS = NUM_WORDS[0]
_TEXTS = 64
_WARM_REQUESTS = 5
_PREDICT = "/v1/models/bert:predict"
_METRICS = "/monitoring/prometheus/metrics"
_RUNTIME = re.compile(r"runtime_latency_(sum|count)\{.*\} ([\d.e+]+)")


@dataclasses.dataclass(frozen=True)
class ServerSpec:
    """A way to serve the model.

    Attributes:
        side: Name of the side.
        variant: Name of the variant.
        command: Port, folder -> arguments of the interpreter.
        env: Folder -> environment variables.
        is_ready: Whether the server answers.
        ask: Sends a text; returns the probabilities.
    """

    side: str
    variant: str
    command: Callable[[int, pathlib.Path], list[str]]
    env: Callable[[pathlib.Path], dict[str, str]]
    is_ready: Callable[[Client], bool]
    ask: Callable[[Client, str], Any]


def _our_command(port: int, folder: pathlib.Path) -> list[str]:
    return [
        *("-m", "tfllm.serve", "--model_name=bert", "--port=0"),
        f"--model_base_path={folder / 'served'}",
        f"--rest_api_port={port}",
        "--enable_batching",
        "--enable_per_model_batching_parameters",
    ]


def _is_available(client: Client) -> bool:
    states = client.ask("/v1/models/bert")["model_version_status"]
    return any(state["state"] == "AVAILABLE" for state in states)


def _predict(client: Client, text: str) -> Any:
    answer = client.ask(_PREDICT, {"instances": [text]})
    return answer["predictions"][0]["scores"]


def servers(threads: int) -> list[ServerSpec]:
    """Returns all ways to serve the model.

    Args:
        threads: Cores that each server may use.
    """
    child = environments.child_environment
    specs = [
        ServerSpec(
            OURS,
            "batching",
            _our_command,
            lambda folder: child(threads),
            _is_available,
            _predict,
        )
    ]
    for workers in sorted({1, threads}):
        specs.append(_peer(workers, threads // workers))
    return specs


def _peer(workers: int, threads: int) -> ServerSpec:
    def command(port: int, folder: pathlib.Path) -> list[str]:
        return [
            *("-m", "uvicorn", "--factory", "--log-level=warning"),
            "tools.peers.transformers_server:create",
            f"--port={port}",
            f"--workers={workers}",
        ]

    return ServerSpec(
        PEER,
        f"{workers} x {threads} threads",
        command,
        lambda folder: {
            **environments.child_environment(threads),
            "TFLLM_PEER_MODEL": str(folder / "model"),
        },
        lambda client: client.ask("/health") == "ok",
        lambda client, text: client.ask("/predict", {"text": text})["scores"],
    )


def make_model(
    size: str, folder: pathlib.Path, interpreter: str, config: TurnsConfig
) -> None:
    """Makes and exports the model.

    Args:
        size: One of `serving_model.SIZES`.
        folder: Folder for the model and its export.
        interpreter: Python of tfllm.
        config: Gives `threads` and `timeout`.

    Raises:
        SideError: The command fails.
    """
    print(f"serving: exporting BERT-{size}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [interpreter, "-m", "tools.peers.serving_model", size, str(folder)],
        env=environments.child_environment(config.threads),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=config.timeout,
        check=False,
    )
    if done.returncode:
        raise SideError(f"no model: {last_lines(done.stderr)}")


@dataclasses.dataclass
class _Running:
    """A server and its measurements."""

    spec: ServerSpec
    process: ServerProcess | None = None
    error: str = ""
    scores: list[list[float]] = dataclasses.field(default_factory=list)
    first_seconds: float = 0.0
    seconds: dict[int, list[float]] = dataclasses.field(default_factory=dict)
    rates: list[float] = dataclasses.field(default_factory=list)


def measure_peers(
    interpreters: dict[str, str | SideError], config: TurnsConfig
) -> tables.Table:
    """Measures the servers of a BERT-base classifier in turns.

    Args:
        interpreters: Side -> its Python, or the reason why it has none.
        config: How to measure.
    """
    specs = [s for s in servers(config.threads) if s.side in interpreters]
    running = [_Running(spec) for spec in specs]
    with contextlib.ExitStack() as stack:
        try:
            folder = pathlib.Path(
                stack.enter_context(tempfile.TemporaryDirectory())
            )
            make_model("base", folder, _usable(interpreters[OURS]), config)
            for server in running:
                _attempt(server, _start, interpreters, folder, config, stack)
            for turn in range(config.rounds):
                print(
                    f"serving: round {turn + 1}/{config.rounds}",
                    file=sys.stderr,
                    flush=True,
                )
                for server in running:
                    _attempt(server, _turn, config, turn)
        except SideError as error:
            for server in running:
                server.error = str(error)
    return tables.Table(
        title=(
            "BERT-base classifier over REST, random weights, float32, "
            f"{config.threads} threads"
        ),
        rows=[_row(server, running[0].scores) for server in running],
        compared={
            **{_latency_name(words): "lower" for words in NUM_WORDS},
            _RATE: "higher",
        },
        details={
            "raw": {
                f"{server.spec.side} {server.spec.variant}": {
                    "seconds": server.seconds,
                    "requests_per_second": server.rates,
                    "scores": server.scores,
                }
                for server in running
            }
        },
    )


_RATE = f"{CLIENTS} clients: answers/s"


def _latency_name(num_words: int) -> str:
    return f"{num_words} words: p50 ms"


def _attempt(
    server: _Running, function: Callable[..., None], *args: Any
) -> None:
    """Calls a function for a server that has not failed yet."""
    if server.error:
        return
    try:
        function(server, *args)
    except (SideError, OSError, RuntimeError) as error:
        server.error = f"{type(error).__name__}: {error}"
        print(
            f"{server.spec.side} failed: {error}", file=sys.stderr, flush=True
        )


def _start(
    server: _Running,
    interpreters: dict[str, str | SideError],
    folder: pathlib.Path,
    config: TurnsConfig,
    stack: contextlib.ExitStack,
) -> None:
    """Starts a server and warms it up."""
    spec = server.spec
    print(
        f"serving: starting {spec.side} ({spec.variant})",
        file=sys.stderr,
        flush=True,
    )
    server.process = stack.enter_context(
        start(spec, _usable(interpreters[spec.side]), folder, config.timeout)
    )
    texts = serving_texts.make_texts(_WARM_REQUESTS, NUM_WORDS[0], seed=1)
    with contextlib.closing(_client(server, config)) as client:
        (server.first_seconds,) = http_client.latencies(
            client, spec.ask, texts, 0.0
        )
        server.scores = [spec.ask(client, text) for text in texts]
        for num_words in NUM_WORDS:
            for text in serving_texts.make_texts(
                _WARM_REQUESTS, num_words, seed=2
            ):
                spec.ask(client, text)
    _load(server, 2.0, config.timeout, seed=3)


def _usable(interpreter: str | SideError) -> str:
    if isinstance(interpreter, SideError):
        raise interpreter
    return interpreter


def start(
    spec: ServerSpec, interpreter: str, folder: pathlib.Path, timeout: float
) -> ServerProcess:
    """Returns a server of a model, not yet started.

    Args:
        spec: How to serve.
        interpreter: Python of the side.
        folder: Folder that `make_model` wrote.
        timeout: Most seconds to start.
    """
    port = free_port()
    return ServerProcess(
        [interpreter, *spec.command(port, folder)],
        spec.env(folder),
        port,
        spec.is_ready,
        timeout,
    )


def _turn(server: _Running, config: TurnsConfig, turn: int) -> None:
    # A new connection each turn: servers close idle connections.
    with contextlib.closing(_client(server, config)) as client:
        for num_words in NUM_WORDS:
            texts = serving_texts.make_texts(_TEXTS, num_words, seed=100 + turn)
            server.seconds.setdefault(num_words, []).extend(
                http_client.latencies(
                    client, server.spec.ask, texts, config.seconds_per_turn
                )
            )
    server.rates.append(
        _load(server, config.seconds_per_turn, config.timeout, seed=200 + turn)
    )


def _client(server: _Running, config: TurnsConfig) -> Client:
    assert server.process is not None
    return Client(server.process.port, config.timeout)


def _load(server: _Running, seconds: float, timeout: float, seed: int) -> float:
    assert server.process is not None
    return http_client.throughput(
        server.process.port,
        server.spec.ask,
        serving_texts.make_texts(_TEXTS, _LOAD_WORDS, seed),
        CLIENTS,
        seconds,
        timeout,
    )


def _row(server: _Running, expected: list[list[float]]) -> tables.Row:
    row = tables.Row(
        side=server.spec.side, variant=server.spec.variant, error=server.error
    )
    if server.error or server.process is None or not server.rates:
        return row
    row.figures = {
        _latency_name(words): 1000 * statistics.median(seconds)
        for words, seconds in server.seconds.items()
    }
    row.figures |= {
        _RATE: statistics.median(server.rates),
        "start s": server.process.start_seconds,
        "first ms": 1000 * server.first_seconds,
    }
    if server.spec.side != OURS and expected:
        gap = max(
            abs(a - b)
            for ours, theirs in zip(expected, server.scores, strict=True)
            for a, b in zip(ours, theirs, strict=True)
        )
        row.notes = f"probabilities within {gap:.1e} of {OURS}'s"
    return row


def measure_overhead(
    interpreter: str | SideError, repeats: int, config: TurnsConfig
) -> tables.Table:
    """Measures the server's overhead with a tiny model, in fresh processes.

    Args:
        interpreter: Python of tfllm, or the reason why it has none.
        repeats: Number of processes.
        config: Gives `seconds_per_turn`, `threads` and `timeout`.
    """
    row, raw = tables.Row(OURS, variant="batching"), []
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            make_model("tiny", folder, _usable(interpreter), config)
            for repeat in range(repeats):
                print(f"serving: start {repeat + 1}/{repeats}", file=sys.stderr)
                raw.append(_one_process(_usable(interpreter), folder, config))
        row.figures = {
            name: statistics.median(life[name] for life in raw)
            for name in raw[0]
        }
        row.figures["first / p50, worst"] = max(
            life["first / p50"] for life in raw
        )
    except (SideError, OSError, RuntimeError) as error:
        row.error = f"{type(error).__name__}: {error}"
    return tables.Table(
        title=(
            "Tiny classifier over REST, fresh processes, 24 words, "
            f"{config.threads} threads"
        ),
        rows=[row],
        details={"raw": raw},
    )


def _one_process(
    interpreter: str, folder: pathlib.Path, config: TurnsConfig
) -> dict[str, float]:
    """Measures one process that serves the tiny model."""
    spec = servers(config.threads)[0]
    texts = serving_texts.make_texts(_TEXTS, NUM_WORDS[0], seed=1)
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            start(spec, interpreter, folder, config.timeout)
        )
        client = Client(process.port, config.timeout)
        stack.callback(client.close)
        (first,) = http_client.latencies(client, spec.ask, texts, 0.0)
        seconds = http_client.latencies(
            client, spec.ask, texts, config.seconds_per_turn
        )
        graph = _mean_runtime(client.read(_METRICS).decode())
    p50 = statistics.median(seconds)
    return {
        "p50 ms": 1000 * p50,
        "in the graph ms": 1000 * graph,
        "start s": process.start_seconds,
        "first ms": 1000 * first,
        "first / p50": first / p50,
    }


def _mean_runtime(page: str) -> float:
    """Returns the mean seconds of a run, from the server's metrics."""
    values = {name: float(value) for name, value in _RUNTIME.findall(page)}
    if not values.get("count"):
        raise RuntimeError("the server must count its runs. Received: none")
    return values["sum"] / values["count"] / 1e6
