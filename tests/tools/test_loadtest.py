"""The open loop, against servers whose answers are known."""

import json
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tfllm.server.http_messages import Request, Response, Service
from tfllm.server.http_server import HttpServer
from tools import loadtest


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    """Answers texts; every tenth with an error, and "slow" slowly."""
    count = iter(range(10**6))

    def answer(request: Request) -> Response:
        (text,) = json.loads(request.body)["instances"]
        if text == "slow":
            time.sleep(0.05)
        failed = text == "fail" and next(count) % 10 == 0
        return Response(503 if failed else 200, b"{}")

    server = HttpServer(("127.0.0.1", 0), Service(answer))
    server.start()
    yield server
    server.stop(5)


class Client:
    """Sends nothing."""

    def __init__(self, send: Callable[[str], str]) -> None:
        self.send = send

    def close(self) -> None:
        pass


def test_latency_counts_from_when_a_request_was_due() -> None:
    """A server that takes one at a time, ten times too slow."""
    lock = threading.Lock()

    def send(text: str) -> str:
        with lock:
            time.sleep(0.02)
        return "OK"

    found = loadtest.measure(lambda: Client(send), ["a"], 200, 0.5, 4)
    count = len(found.latencies)
    assert 60 < count < 140
    # The last one waits for all others, though it was sent late.
    assert found.percentile(100) > count * 20 - 700
    assert found.percentile(50) > 300
    assert found.most_late_ms > 300


def test_moments_depend_on_the_seed_alone() -> None:
    def texts(seed: int) -> list[str]:
        seen: list[str] = []

        def send(text: str) -> str:
            seen.append(text)
            return "OK"

        loadtest.measure(
            lambda: Client(send), list("abcdef"), 500, 0.1, 1, seed
        )
        return seen

    assert texts(0) == texts(0) != texts(1)


def test_percentiles() -> None:
    found = loadtest.Measured(1, 1, [float(i) for i in range(100)], {}, 0)
    assert [found.percentile(p) for p in (50, 99, 100)] == [50, 99, 99]


def test_the_tool(
    server: HttpServer, tmp_path: pathlib.Path, run_command: Callable
) -> None:
    (tmp_path / "texts.txt").write_text("fail\n")
    command = [
        *[sys.executable, "-m", "tools.loadtest", "--text_files=texts.txt"],
        f"--address=127.0.0.1:{server.port}",
        *["--rates=50,100", "--seconds=0.5", "--output_dir=out"],
    ]
    # The very first request of all is one of those that fail.
    done = run_command(command, tmp_path)
    assert done.returncode == 1
    assert "`address` must answer" in done.stderr
    done = run_command(command, tmp_path)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("| target/s | answered/s | p50 ms")
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["50", "100"]
    assert "HTTP 503" in lines[3]
    records = json.loads((tmp_path / "out/load.json").read_text())
    assert records[1]["outcomes"]["HTTP 503"] >= 1
    assert records[1]["p50_ms"] < records[1]["max_ms"]
    png = (tmp_path / "out/load.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000


@pytest.mark.parametrize("rates", ["", "0", "-1", "a,b", "inf"])
def test_rates_that_are_none(rates: str) -> None:
    with pytest.raises(ValueError, match="`rates` must be positive"):
        loadtest.parse_rates(rates)
