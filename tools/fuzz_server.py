r"""Sends random malformed requests to a server and counts the answers.

    python -m tools.fuzz_server --rest_address=127.0.0.1:8501 \
        --grpc_address=127.0.0.1:8500 --model_name=bert --requests=500

Half of the requests go over REST, half over gRPC. They have wrong ranks, shapes
and dtypes, nested and ragged lists, tensors whose content does not fit their
shape, and broken JSON. No request may end the server or cause an internal
error, and a valid request in between must get the same answer as before. Prints
the counts of status codes, and exits with 1 if a request did harm. The same
seed gives the same requests.
"""

import dataclasses
import http.client
import json
import random
from collections import Counter
from typing import Any

import grpc
from absl import flags as absl_flags

from tfllm.runs import flags
from tfllm.server import protos
from tools import hard_bodies

FLAGS = absl_flags.FLAGS
# Random requests between two valid ones.
BETWEEN = 50
# Answers of a server with an internal error.
BROKEN = ("REST 500", "gRPC INTERNAL", "gRPC UNKNOWN", "gRPC UNAVAILABLE")
_GOOD = {"DT_STRING": "the best of times", "DT_FLOAT": 1.0}


@dataclasses.dataclass
class Outcome:
    """Answers to the requests.

    Attributes:
        codes: Status code, such as "REST 400" -> number of answers.
        harm: Descriptions of failures, with the request.
    """

    codes: Counter[str]
    harm: list[str]

    def __str__(self) -> str:
        """Returns a line of counts and a line per failure."""
        counts = ", ".join(f"{k}: {n}" for k, n in sorted(self.codes.items()))
        return "\n".join([counts, *self.harm])


class Fuzzer:
    """Sends random requests to one model of a server.

    Args:
        rest: HOST:PORT of REST.
        rpc: HOST:PORT of gRPC.
        model: Name of the model.
        timeout: Timeout of a request in seconds.
    """

    def __init__(
        self, rest: str, rpc: str, model: str, timeout: float = 30.0
    ) -> None:
        self._rest, self._model, self._timeout = rest, model, timeout
        self._channel = grpc.insecure_channel(rpc)
        self._stub = protos.PredictionServiceStub(self._channel)
        path = f"/v1/models/{model}/metadata"
        self.signatures = hard_bodies.signatures(
            json.loads(self._http("GET", path)[1])
        )

    def run(self, requests: int, seed: int) -> Outcome:
        """Sends requests.

        Args:
            requests: Number of requests.
            seed: Seed of the requests.
        """
        rng = random.Random(seed)
        outcome = Outcome(Counter(), [])
        usual = self._good()
        for number in range(requests):
            code, what = self._rest_code(rng) if number % 2 else self._rpc(rng)
            outcome.codes[code] += 1
            if code in BROKEN:
                outcome.harm.append(f"{code} for request {number}: {what:.500}")
            is_last = number == requests - 1
            if (is_last or number % BETWEEN == BETWEEN - 1) and not _is_same(
                usual, self._good()
            ):
                outcome.harm.append(f"another answer after {number}")
        return outcome

    def _good(self) -> Any:
        """Returns the answer to a valid request; ValueError if it fails."""
        inputs = {}
        for name, info in self.signatures["serving_default"].items():
            value: Any = _GOOD.get(info.dtype, 1)
            for _ in range(info.rank):
                value = [value]
            inputs[name] = value
        status, answer = self._http(
            "POST",
            f"/v1/models/{self._model}:predict",
            json.dumps({"inputs": inputs}).encode(),
        )
        if status != 200:
            raise ValueError(
                "a good request must be answered. Received: "
                f"{status}, {answer[:300]!r}"
            )
        return json.loads(answer)["outputs"]

    def _rest_code(self, rng: random.Random) -> tuple[str, str]:
        """Sends a random REST request; returns status code and request."""
        path, body = hard_bodies.rest(rng, self.signatures, self._model)
        status, _ = self._http("POST", path, body)
        return f"REST {status}", f"{path} {body[:400]!r}"

    def _rpc(self, rng: random.Random) -> tuple[str, str]:
        """Sends a random gRPC request; returns status code and request."""
        call, request = hard_bodies.grpc(rng, self.signatures, self._model)
        code = "OK"
        try:
            getattr(self._stub, call)(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code = error.code().name
        return f"gRPC {code}", f"{call} {request}"

    def _http(
        self, method: str, path: str, body: bytes = b""
    ) -> tuple[int, bytes]:
        """Sends a request on a new connection; returns status and body."""
        host, _, port = self._rest.rpartition(":")
        connection = http.client.HTTPConnection(
            host, int(port), timeout=self._timeout
        )
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()


def _is_same(before: Any, after: Any) -> bool:
    """Whether two answers are equal, up to rounding of floats."""
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(
            _is_same(before[key], after[key]) for key in before
        )
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_is_same, before, after))
    if isinstance(before, float):
        return abs(before - after) <= 1e-4 * max(1.0, abs(before))
    return before == after


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Server")
    group.string("rest_address", "127.0.0.1:8501", "Host and port of REST.")
    group.string("grpc_address", "127.0.0.1:8500", "Host and port of gRPC.")
    group.string("model_name", "default", "Name of the model.")
    group = flags.Group("Requests")
    group.integer("requests", 500, "Number of requests to send.")
    group.integer("seed", 0, "Seed of the requests.")


def main() -> int:
    """Sends the requests; returns 1 if a request did harm."""
    fuzzer = Fuzzer(FLAGS.rest_address, FLAGS.grpc_address, FLAGS.model_name)
    outcome = fuzzer.run(FLAGS.requests, FLAGS.seed)
    fuzzer.close()
    print(outcome)
    return int(bool(outcome.harm))


if __name__ == "__main__":
    define()
    flags.run(main)
