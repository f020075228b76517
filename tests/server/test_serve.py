"""`python -m tfllm.serve` as a process: swaps, limits, keys, signals."""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import tensorflow as tf

from tests.serving.serve_process import HOST, Answer, Gate, ServeProcess, call
from tfllm.server import protos

WHICH = {"signature_name": "which"}
HOLD = {"signature_name": "hold"}


def put(source: pathlib.Path, base: pathlib.Path, number: int) -> pathlib.Path:
    """Adds a version, as an export does: complete or not at all."""
    temporary = base / ".tmp"
    shutil.copytree(source, temporary)
    return temporary.rename(base / str(number))


def write_warm_up(folder: pathlib.Path, *signatures: str) -> None:
    """Adds warm-up requests that send a text to signatures."""
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in signatures:
            log = protos.PredictionLog()
            if signature == "classify":
                request = log.classify_log.request
                request.input.example_list.examples.add()
            elif signature == "session_run":
                log.session_run_log.SetInParent()
                writer.write(log.SerializeToString())
                continue
            else:
                request = log.predict_log.request
                request.inputs["text"].CopyFrom(tf.make_tensor_proto(["a"]))
            request.model_spec.signature_name = signature
            writer.write(log.SerializeToString())


class Clients:
    """Threads that ask without a pause, and keep what came back."""

    def __init__(self, server: ServeProcess, count: int = 4) -> None:
        self.server = server
        self.stopping = threading.Event()
        self.versions: list[int] = []
        self.failures: list[Any] = []
        self.threads = [
            threading.Thread(target=self._rest if i % 2 else self._grpc)
            for i in range(count)
        ]

    def _rest(self) -> None:
        connection = http.client.HTTPConnection(*self.server.rest, timeout=30)
        body = json.dumps({**WHICH, "instances": ["a"]})
        while not self.stopping.is_set():
            try:
                connection.request("POST", "/v1/models/m:predict", body)
                answer = json.loads(connection.getresponse().read())
                self.versions += answer["predictions"]
            except Exception as error:
                self.failures.append(error)
        connection.close()

    def _grpc(self) -> None:
        with grpc.insecure_channel(f"{HOST}:{self.server.grpc_port}") as c:
            stub = protos.PredictionServiceStub(c)
            request = text_request("which")
            while not self.stopping.is_set():
                try:
                    found = stub.Predict(request, timeout=30)
                    self.versions += found.outputs["version"].int_val
                except Exception as error:
                    self.failures.append(error)

    def __enter__(self) -> "Clients":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def text_request(signature: str) -> Any:
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(["a"]))
    return request


@pytest.mark.dist
@pytest.mark.slow
def test_versions_under_load(
    conformance_base: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """New, damaged and cold versions come while clients ask."""
    first, second = conformance_base / "1", conformance_base / "2"
    base = tmp_path / "base"
    base.mkdir()
    put(first, base, 1)
    flags = [f"--model_base_path={base}", "--model_name=m"]
    with ServeProcess(tmp_path / "log", *flags) as server:
        server.wait_for("m", 1, "AVAILABLE")
        with Clients(server) as clients:
            put(second, base, 2)
            server.wait_for("m", 1, "END")
            # Damaged in four ways.
            cut = put(second, tmp_path, 3)
            graph = cut / "saved_model.pb"
            graph.write_bytes(graph.read_bytes()[:-1000])
            put(cut, base, 3)
            status = server.wait_for("m", 3, "END")
            assert status["error_code"] == "FAILED_PRECONDITION"
            bare = put(second, tmp_path, 4)
            shutil.rmtree(bare / "variables")
            put(bare, base, 4)
            status = server.wait_for("m", 4, "END")
            assert "variables" in status["error_message"]
            short = put(second, tmp_path, 5)
            for path in (short / "variables").glob("*.data*"):
                path.write_bytes(b"")
            put(short, base, 5)
            server.wait_for("m", 5, "END")
            cold = put(second, tmp_path, 6)
            write_warm_up(cold, "serving_default", "none")
            put(cold, base, 6)
            status = server.wait_for("m", 6, "END")
            assert status["error_message"].startswith("Serving signature key")
            before = len(clients.versions)
            time.sleep(0.3)
            assert set(clients.versions[before:]) == {2}
        assert not clients.failures
        seen = clients.versions
        assert seen[0] == 1
        # kill -9: the same command serves again, past the damaged versions.
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        server.start()
        server.wait_for("m", 2, "AVAILABLE")
        assert server.predict("m", ["a"], **WHICH).json == {"predictions": [2]}
        warm = put(first, tmp_path, 7)
        write_warm_up(warm, "serving_default", "which", "classify")
        put(warm, base, 7)
        server.wait_for("m", 7, "AVAILABLE")
        page = server.call("GET", "/monitoring/prometheus/metrics").body
        line = (
            ":tensorflow:serving:model_warmup_latency_count"
            f'{{model_path="{base}/7",status="OK"}} 1'
        )
        assert line in page.decode().splitlines()
        # What a signal finds in the server, it finishes.
        with (
            concurrent.futures.ThreadPoolExecutor() as pool,
            Gate(tmp_path) as gate,
        ):
            path = str(gate.path)
            held = pool.submit(server.predict, "m", [path], **HOLD)
            gate.wait_until_held()
            threading.Timer(0.3, gate.open).start()
            assert server.stop() == 0
            assert held.result().json == {"predictions": [path]}


@pytest.fixture(scope="module")
def batching(
    conformance_base: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server with a short queue, little time and small bodies."""
    folder = tmp_path_factory.mktemp("batching")
    base = folder / "base"
    base.mkdir()
    version = put(conformance_base / "2", folder, 2)
    (version / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 4 } max_enqueued_batches { value: 1 } "
        "num_batch_threads { value: 1 } allowed_batch_sizes: 4"
    )
    put(version, base, 2)
    with ServeProcess(
        folder / "log",
        f"--model_base_path={base}",
        "--model_name=m",
        "--enable_batching",
        "--enable_per_model_batching_parameters",
        "--rest_api_timeout_in_ms=1500",
        "--max_body_bytes=100000",
        "--max_text_bytes=1000",
        "--enable_grpc_healthcheck_service",
    ) as server:
        server.wait_for("m", 2, "AVAILABLE")
        yield server


@pytest.mark.dist
def test_batches_give_the_answers_of_single_requests(
    batching: ServeProcess,
) -> None:
    texts = [f"text {i} " + "x" * (i % 7) for i in range(100)]
    alone = [batching.predict("m", [text]).json for text in texts]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        merged = list(pool.map(lambda t: batching.predict("m", [t]), texts))
    assert [answer.json for answer in merged] == alone
    page = batching.call("GET", "/monitoring/prometheus/metrics").body.decode()
    assert ':queuing_latency_count{thread_pool_name="m"}' in page


@pytest.mark.dist
def test_a_text_that_is_too_long(batching: ServeProcess) -> None:
    fits, long = "x" * 1000, "x" * 1001
    assert batching.predict("m", [fits]).status == 200
    message = (
        'Expects each text of input "text" to be at most 1000 bytes '
        "(--max_text_bytes) but 1001 bytes are provided. Send it in parts."
    )
    answer = batching.predict("m", ["short", long])
    assert (answer.status, answer.json) == (400, {"error": message})
    request = text_request("which")
    request.inputs["text"].string_val[0] = long.encode()
    with (
        grpc.insecure_channel(f"{HOST}:{batching.grpc_port}") as channel,
        pytest.raises(grpc.RpcError) as error,
    ):
        protos.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details() == message
    # As a feature of an example, too.
    answer = batching.call(
        "POST",
        "/v1/models/m:classify",
        {"signature_name": "classify", "examples": [{"text": long}]},
    )
    assert answer.status == 400
    assert "(--max_text_bytes)" in answer.json["error"]


@pytest.mark.dist
def test_a_call_without_a_deadline(batching: ServeProcess) -> None:
    with grpc.insecure_channel(f"{HOST}:{batching.grpc_port}") as channel:
        found = protos.PredictionServiceStub(channel).Predict(
            text_request("which")
        )
    assert list(found.outputs["version"].int_val) == [2]


def wait_for_refusals(calls: list[concurrent.futures.Future]) -> None:
    """Waits until one batch of four waits, and the others are refused."""
    deadline = time.monotonic() + 60
    while sum(call.done() for call in calls) < len(calls) - 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.dist
def test_a_full_queue(batching: ServeProcess, tmp_path: pathlib.Path) -> None:
    def predict() -> Answer:
        return batching.predict("m", [str(gate.path)], **HOLD)

    with (
        concurrent.futures.ThreadPoolExecutor(24) as pool,
        Gate(tmp_path) as gate,
    ):
        first = pool.submit(predict)
        gate.wait_until_held()
        calls = [pool.submit(predict) for _ in range(23)]
        wait_for_refusals(calls)
        gate.open()
        answers = [call.result() for call in [first, *calls]]
    by_status = collections.Counter(answer.status for answer in answers)
    # What waits may find its time up on a busy machine.
    assert {200, 429} <= by_status.keys() <= {200, 429, 504}
    assert by_status[429] >= 19
    refused = next(answer for answer in answers if answer.status == 429)
    assert "queue" in refused.json["error"]
    assert "is full" in refused.json["error"]
    for answer in answers:
        if answer.status == 200:
            assert answer.json == {"predictions": [str(gate.path)]}


@pytest.mark.dist
def test_a_full_queue_of_grpc(
    batching: ServeProcess, tmp_path: pathlib.Path
) -> None:
    def predict() -> str:
        request = protos.PredictRequest()
        request.model_spec.name = "m"
        request.model_spec.signature_name = "hold"
        gates = tf.make_tensor_proto([str(gate.path)])
        request.inputs["gate"].CopyFrom(gates)
        try:
            stub.Predict(request, timeout=120)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    with (
        grpc.insecure_channel(f"{HOST}:{batching.grpc_port}") as channel,
        concurrent.futures.ThreadPoolExecutor(24) as pool,
        Gate(tmp_path) as gate,
    ):
        stub = protos.PredictionServiceStub(channel)
        first = pool.submit(predict)
        gate.wait_until_held()
        calls = [pool.submit(predict) for _ in range(23)]
        wait_for_refusals(calls)
        gate.open()
        codes = collections.Counter(c.result() for c in [first, *calls])
    assert codes == {"OK": 5, "RESOURCE_EXHAUSTED": 19}


@pytest.mark.dist
def test_a_request_that_takes_too_long(
    batching: ServeProcess, tmp_path: pathlib.Path
) -> None:
    with Gate(tmp_path) as gate:
        answer = batching.predict("m", [str(gate.path)], **HOLD)
        assert answer.status == 504
        assert answer.json == {"error": "Deadline Exceeded"}


@pytest.mark.dist
def test_a_body_that_is_too_large(batching: ServeProcess) -> None:
    answer = batching.predict("m", ["x" * 200_000])
    assert answer.status == 413
    assert answer.json == {"error": "Body is larger than 100000 bytes"}
    with grpc.insecure_channel(f"{HOST}:{batching.grpc_port}") as channel:
        stub = protos.PredictionServiceStub(channel)
        request = text_request("serving_default")
        request.inputs["text"].string_val.append(b"x" * 200_000)
        with pytest.raises(grpc.RpcError) as error:
            stub.Predict(request, timeout=30)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.dist
def test_what_is_not_served_over_grpc(batching: ServeProcess) -> None:
    with grpc.insecure_channel(f"{HOST}:{batching.grpc_port}") as channel:
        stub = protos.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.MultiInference(protos.MultiInferenceRequest(), timeout=30)
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        health = health_pb2_grpc.HealthStub(channel)
        found = health.Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert found.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.dist
def test_reloading_over_grpc(
    batching: ServeProcess, conformance_base: pathlib.Path
) -> None:
    """Runs last of its module: it replaces the model."""
    config = (conformance_base / "models.config").read_text()
    request = protos.ReloadConfigRequest()
    from google.protobuf import text_format

    text_format.Parse(config, request.config)
    with grpc.insecure_channel(f"{HOST}:{batching.grpc_port}") as channel:
        stub = protos.ModelServiceStub(channel)
        found = stub.HandleReloadConfigRequest(request, timeout=60)
        assert (found.status.error_code, found.status.error_message) == (0, "")
        labels = request.config.model_config_list.config[0].version_labels
        labels["wrong"] = 7
        found = stub.HandleReloadConfigRequest(request, timeout=60)
        assert found.status.error_code == 9
        assert "version 7 of model conformance" in found.status.error_message
    answer = batching.predict("conformance", ["a"], **WHICH)
    assert answer.json == {"predictions": [2]}
    assert batching.predict("m", ["a"]).status == 404


@pytest.mark.dist
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_tls_and_a_key(
    conformance_base: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"],
            *["-days", "2", "-subj", "/CN=localhost", "-addext"],
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            *["-keyout", str(key), "-out", str(certificate)],
        ],
        check=True,
        capture_output=True,
    )
    (tmp_path / "api_key").write_text("secret\n")
    trusted = ssl.create_default_context(cafile=str(certificate))
    with ServeProcess(
        tmp_path / "log",
        f"--model_base_path={conformance_base}",
        "--model_name=m",
        f"--ssl_certificate_file={certificate}",
        f"--ssl_key_file={key}",
        f"--api_key_file={tmp_path / 'api_key'}",
    ) as server:

        def get(path: str, **headers: str) -> int:
            connection = http.client.HTTPSConnection(
                *server.rest, context=trusted, timeout=30
            )
            with contextlib.closing(connection):
                connection.request("GET", path, headers=headers)
                return connection.getresponse().status

        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if get("/v1/models/m/metadata", **{"x-api-key": "secret"}) == (
                    200
                ):
                    break
            time.sleep(0.05)
        path = "/v1/models/m"
        assert get(path, Authorization="Bearer secret") == 200
        for headers in (
            {},
            {"x-api-key": "wrong"},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic secret"},
        ):
            assert get(path, **headers) == 401
        assert get("/") == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            call(server.rest, "GET", path)
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(
            f"{HOST}:{server.grpc_port}", credentials
        ) as channel:
            stub = protos.PredictionServiceStub(channel)
            request = text_request("which")
            with pytest.raises(grpc.RpcError) as error:
                stub.Predict(request, timeout=30)
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
            metadata = [("authorization", "Bearer secret")]
            found = stub.Predict(request, timeout=30, metadata=metadata)
            assert list(found.outputs["version"].int_val) == [2]


@pytest.mark.dist
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give one of `model_base_path` and `model_config_file`"),
        (["--model_base_path={}/none"], "`model_base_path` must be a folder"),
        (
            ["--model_base_path={}", "--batching_parameters_file={}/b"],
            "need `enable_batching`",
        ),
        (
            ["--model_base_path={}", "--ssl_key_file={}/b"],
            "go together",
        ),
        (["--model_base_path={}", "--port=99999"], "`port` must be at most"),
    ],
)
def test_flags_that_cannot_be(
    tmp_path: pathlib.Path, flags: list[str], words: str
) -> None:
    server = ServeProcess(
        tmp_path / "log", *(flag.format(tmp_path) for flag in flags)
    )
    with server:
        assert server.process.wait(60) == 1
        text = server.log.read_text()
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("error: ")
    assert words in text


@pytest.mark.dist
@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_a_port_that_is_taken(tmp_path: pathlib.Path, flag: str) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        server = ServeProcess(
            tmp_path / "log",
            f"--model_base_path={tmp_path}",
            f"--{flag}={port}",
        )
        with server:
            assert server.process.wait(60) == 1
    line = server.log.read_text().splitlines()[-1]
    assert f"error: `{flag}` must be free" in line
    assert str(port) in line
