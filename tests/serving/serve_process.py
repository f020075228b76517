"""A server as a user starts it, in a process of its own."""

import dataclasses
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@dataclasses.dataclass
class Answer:
    """A response of HTTP."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    address: tuple[str, int],
    method: str,
    path: str,
    body: bytes | str | dict | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = 30,
) -> Answer:
    """Sends a request on a connection of its own."""
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(
            response.status,
            response.read(),
            {k.lower(): v for k, v in response.getheaders()},
        )
    finally:
        connection.close()


class ServeProcess:
    """`python -m tfllm.serve`, for one test or a module of them."""

    def __init__(self, log: pathlib.Path, *flags: str) -> None:
        self.log = log
        self.flags = flags
        self.grpc_port, self.rest_port = free_ports(2)
        self.rest = (HOST, self.rest_port)
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tfllm.serve",
                    f"--port={self.grpc_port}",
                    f"--rest_api_port={self.rest_port}",
                    "--file_system_poll_wait_seconds=0.1",
                    *self.flags,
                ],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={
                    **os.environ,
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                    "CUDA_VISIBLE_DEVICES": "-1",
                },
            )

    def wait_for(self, name: str, version: int, state: str) -> dict[str, Any]:
        """Waits for a state of a version; returns its status."""
        deadline = time.monotonic() + 60
        seen: Any = None
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                answer = call(self.rest, "GET", f"/v1/models/{name}")
                seen = answer.json
                for entry in seen.get("model_version_status", ()):
                    if entry["version"] == str(version) and (
                        entry["state"] == state
                    ):
                        return entry["status"]
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{seen}\n{self.log.read_text()}")

    def call(self, method: str, path: str, *args: Any, **more: Any) -> Answer:
        return call(self.rest, method, path, *args, **more)

    def predict(self, name: str, texts: list[str], **fields: Any) -> Answer:
        body = {"instances": texts, **fields}
        return self.call("POST", f"/v1/models/{name}:predict", body)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def __enter__(self) -> "ServeProcess":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Gate:
    """Holds requests of the signature `hold` in the server until opened."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "gate"
        self._held = folder / "gate.held"

    def wait_until_held(self) -> None:
        """Returns when the server runs a request that waits."""
        deadline = time.monotonic() + 60
        while not self._held.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def open(self) -> None:
        self.path.touch()

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
