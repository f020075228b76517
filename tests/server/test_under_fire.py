"""Many clients, broken requests and millions of words, on a real process.

Short by default; `--long` runs 64 clients for 60 s, 1,000 mutations of each
kind (of raw requests three times) and 1,000,000 distinct words.
"""

import concurrent.futures
import http.client
import json
import pathlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest
import tensorflow as tf

from tests.serving.serve_process import HOST, ServeProcess
from tfllm.server import protos

PREDICT = "/v1/models/m:predict"
REQUEST = json.dumps(
    {
        "signature_name": "ids",
        "instances": [
            {"ids": [1, 2, 3], "lengths": 3, "flag": True},
            {"ids": [4, 5, 6], "lengths": 2, "flag": False},
        ],
    }
).encode()
# Seconds of load, mutations, words: short and long.
SCALES = {False: (3, 100, 40_000), True: (60, 1000, 1_000_000)}


@pytest.fixture(scope="module")
def scale(request: pytest.FixtureRequest) -> tuple[int, int, int]:
    return SCALES[request.config.getoption("long")]


@pytest.fixture(scope="module")
def server(
    conformance_base: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    folder = tmp_path_factory.mktemp("fire")
    parameters = folder / "batching.pbtxt"
    parameters.write_text(
        "max_batch_size { value: 32 } batch_timeout_micros { value: 500 } "
        "max_enqueued_batches { value: 64 } num_batch_threads { value: 2 }"
    )
    with ServeProcess(
        folder / "log",
        f"--model_base_path={conformance_base}",
        "--model_name=m",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        "--read_timeout_seconds=1",
        "--max_body_bytes=1000000",
    ) as process:
        process.wait_for("m", 2, "AVAILABLE")
        yield process


def resident_mb(server: ServeProcess) -> float:
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(x for x in status.splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def ask(connection: http.client.HTTPConnection, texts: list[str]) -> None:
    """Sends texts, and checks every answer."""
    connection.request("POST", PREDICT, json.dumps({"instances": texts}))
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    rows = json.loads(body)["predictions"]
    for text, row in zip(texts, rows, strict=True):
        assert row["upper"] == text.upper()
        assert row["length"] == len(text.encode())


def clients(
    server: ServeProcess, count: int, seconds: float
) -> tuple[int, list[BaseException]]:
    """Lets clients ask without a pause; returns answers and failures."""
    end = time.monotonic() + seconds
    failures: list[BaseException] = []

    def client(number: int) -> int:
        rng, answers = random.Random(number), 0
        connection = http.client.HTTPConnection(*server.rest, timeout=30)
        try:
            while time.monotonic() < end:
                ask(
                    connection,
                    [
                        f"client {number} says {rng.random()} é"
                        for _ in range(rng.randint(1, 3))
                    ],
                )
                answers += 1
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()
        return answers

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return sum(pool.map(client, range(count))), failures


@pytest.mark.dist
@pytest.mark.slow
def test_many_clients(
    server: ServeProcess, scale: tuple[int, int, int]
) -> None:
    answers, failures = clients(server, 64, scale[0])
    print(f"{answers} answers to 64 clients in {scale[0]} s")
    assert not failures
    assert answers > 64


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Changes, drops, doubles or inserts a few bytes."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(found) + 1)
        kind = rng.choices(range(5), [4, 2, 2, 4, 1])[0]
        if kind == 0:
            found[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del found[place : place + rng.randint(1, 20)]
        elif kind == 2:
            part = found[place : place + rng.randint(1, 20)]
            found[place:place] = part * rng.randint(1, 5)
        elif kind == 3:
            found[place:place] = rng.choice(
                [b'"', b"[", b"]", b"{", b"}", b",", b"null", b"-1e999", b"\0"]
            )
        elif len(found) > 1:
            found[place:] = b""
        if not found:
            found = bytearray(b" ")
    return bytes(found)


def exchange(server: ServeProcess, content: bytes) -> bytes:
    """Sends bytes, closes this side, reads to the end."""
    with socket.create_connection(server.rest, timeout=20) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # refused before its end
            pass
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


@pytest.mark.dist
@pytest.mark.slow
def test_mutations_of_bodies(
    server: ServeProcess, scale: tuple[int, int, int]
) -> None:
    rng, statuses = random.Random(0), Counter[int]()
    for _ in range(scale[1]):
        answer = server.call("POST", PREDICT, mutated(REQUEST, rng))
        statuses[answer.status] += 1
        keys = set(answer.json)
        assert keys == ({"predictions"} if answer.status == 200 else {"error"})
    print("mutations of bodies:", dict(statuses))
    assert set(statuses) <= {200, 400}
    assert len(statuses) == 2


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mutations_of_whole_requests(
    server: ServeProcess, scale: tuple[int, int, int], seed: int
) -> None:
    """Whatever comes, there is an answer."""
    rng, statuses = random.Random(seed), Counter[str]()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: "
    content = head.encode() + b"%d\r\n\r\n%s" % (len(REQUEST), REQUEST)
    for _ in range(scale[1]):
        sent = mutated(content, rng)
        found = exchange(server, sent)
        assert found.startswith(b"HTTP/1.1 "), (sent, found[:100])
        statuses[found[9:12].decode()] += 1
    print("mutations of requests:", dict(statuses))
    assert set(statuses) <= {
        *("200", "400", "401", "404", "408", "413", "414", "431"),
        *("501", "505"),
    }


@pytest.mark.dist
@pytest.mark.slow
def test_mutations_of_grpc(
    server: ServeProcess, scale: tuple[int, int, int]
) -> None:
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(["ab", "cde"]))
    content = request.SerializeToString()
    rng, codes = random.Random(2), Counter[str]()
    with grpc.insecure_channel(f"{HOST}:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict"
        )
        for _ in range(scale[1]):
            try:
                call(mutated(content, rng), timeout=20)
                codes["OK"] += 1
            except grpc.RpcError as error:
                codes[error.code().name] += 1
    print("mutations of gRPC:", dict(codes))
    # INTERNAL: gRPC's own word for what is no message.
    assert set(codes) <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL"} | {
        "FAILED_PRECONDITION",
        "UNKNOWN",
    }


@pytest.mark.dist
@pytest.mark.slow
def test_good_clients_among_bad_ones(server: ServeProcess) -> None:
    """Slow, silent, huge and broken connections do not disturb others."""
    stopping = threading.Event()
    head = f"POST {PREDICT} HTTP/1.1\r\nContent-Length: ".encode()

    def bad(number: int) -> None:
        kinds = [
            head,
            head + b"999\r\n\r\n{",
            head + b"900000\r\n\r\n" + b" " * 900_000,
            head + b"99999999999\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"",
        ]
        while not stopping.is_set():
            with socket.create_connection(server.rest, timeout=20) as c:
                try:
                    c.sendall(kinds[number % len(kinds)])
                    if number % 2:
                        c.settimeout(0.2)
                        c.recv(10)
                except OSError:
                    pass

    threads = [threading.Thread(target=bad, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    answers, failures = clients(server, 4, 2)
    stopping.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert answers > 20


@pytest.mark.dist
@pytest.mark.slow
def test_memory_stays(
    server: ServeProcess, scale: tuple[int, int, int]
) -> None:
    """Every word is new; nothing of it may be kept."""
    connection = http.client.HTTPConnection(*server.rest, timeout=30)
    numbers = iter(range(10**9))

    def send(words: int) -> None:
        for _ in range(words // 500):
            texts = [
                " ".join(f"word{next(numbers):x}" for _ in range(50))
                for _ in range(10)
            ]
            ask(connection, texts)

    send(20_000)
    before = resident_mb(server)
    send(scale[2])
    grown = resident_mb(server) - before
    connection.close()
    print(f"memory: {before:.0f} MB, {grown:+.1f} MB after {scale[2]} words")
    assert grown < 20


@pytest.mark.dist
@pytest.mark.slow
def test_the_server_still_stands(server: ServeProcess) -> None:
    """Runs last of its module."""
    connection = http.client.HTTPConnection(*server.rest, timeout=30)
    ask(connection, ["still here"])
    connection.close()
    log = server.log.read_text()
    assert "Traceback" not in log
    assert server.stop() == 0
