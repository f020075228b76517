"""The server under test."""

import dataclasses
from typing import Any

from tests.serving import serve_process

NAME = "conformance"


@dataclasses.dataclass
class Target:
    """A running server that has the two versions of model.py."""

    rest: tuple[str, int]
    grpc: str

    def call(
        self, method: str, path: str, body: Any = None, **more: Any
    ) -> serve_process.Answer:
        return serve_process.call(self.rest, method, path, body, **more)

    def post(
        self, verb: str, body: Any, version: str = ""
    ) -> serve_process.Answer:
        return self.call("POST", f"/v1/models/{NAME}{version}:{verb}", body)

    def predict(self, body: Any, version: str = "") -> Any:
        """Sends a request that must succeed; returns the parsed answer."""
        answer = self.post("predict", body, version)
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == "application/json"
        return answer.json
