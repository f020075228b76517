"""TensorFlow Serving's REST API, and what this server adds to it.

Reference: tensorflow/serving 2.20, model_servers/http_rest_api_handler.cc and
http_rest_api_util.cc, in its own words.
"""

import re
import threading
import time
import urllib.parse
from collections.abc import Mapping

from google.protobuf import json_format

from tfllm.serving.server import (
    json_text,
    metrics,
    page,
    rest_examples,
    rest_requests,
    rest_responses,
    streaming,
)
from tfllm.serving.server.access import Access
from tfllm.serving.server.deadlines import Deadline, expired
from tfllm.serving.server.http_messages import Request, Response
from tfllm.serving.server.inference import DEFAULT_SIGNATURE, Inference
from tfllm.serving.server.metrics import Metrics
from tfllm.serving.server.model_status import metadata, status
from tfllm.serving.server.model_versions import ModelVersions, Wanted
from tfllm.serving.server.protos import ModelSpec
from tfllm.serving.server.statuses import (
    HTTP_STATUS,
    ServingError,
    invalid_argument,
)

_PREDICTION = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
    r":(classify|regress|predict)",
    re.ASCII | re.IGNORECASE,
)
_STATUS = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?"
    r"(?:/(metadata))?",
    re.ASCII | re.IGNORECASE,
)
_MOST_VERSION = 2**63 - 1
_APIS = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}


class Rest:
    """Answers HTTP requests.

    Args:
        versions: The models.
        inference: Runs them.
        numbers: Counts and latencies.
        access: Who may ask.
        timeout_seconds: How long a request may take.
        num_threads: Requests that are worked on at once; others wait. Many
            threads at once would spend their time on Python's lock.
    """

    def __init__(
        self,
        versions: ModelVersions,
        inference: Inference,
        numbers: Metrics,
        access: Access,
        timeout_seconds: float,
        num_threads: int,
    ) -> None:
        """See the class."""
        self._versions = versions
        self._inference = inference
        self._metrics = numbers
        self._access = access
        self._timeout = timeout_seconds
        self._slots = threading.BoundedSemaphore(num_threads)

    def gate(self, path: str, headers: Mapping[str, str]) -> Response | None:
        """Refuses who may not ask; only the page itself is open to all."""
        if path == "/" or self._access.allows(headers):
            return None
        return _failure(self._access.refusal())

    def answer(self, request: Request) -> Response:
        """Answers a request."""
        path = request.path
        try:
            if path.lower().startswith("/v1/"):
                return self._contract(request)
            if request.method == "POST":
                found = re.fullmatch(streaming.PATH, path)
                if found:
                    return self._stream(_wanted(*found.groups()), request.body)
            elif request.method in ("GET", "HEAD"):
                if path == "/":
                    return page.response()
                if path == page.MODELS_PATH:
                    return page.models(self._versions)
                if path == metrics.PATH:
                    return Response(200, self._metrics.page(), "text/plain")
            raise ServingError("NOT_FOUND", "Not Found")
        except ServingError as error:
            return _failure(error)
        except RecursionError:
            return _failure(json_text.nested_too_deep())

    def _contract(self, request: Request) -> Response:
        """Answers what TensorFlow Serving answers, too."""
        if request.method == "POST":
            match = _PREDICTION.fullmatch(request.path)
            if match:
                return self._infer(match, request.body)
        elif request.method == "GET":
            match = _STATUS.fullmatch(request.path)
            if match:
                return Response(200, self._describe(match))
        raise invalid_argument(
            f"Malformed request: {request.method} {request.path}"
        )

    def _infer(self, match: "re.Match[str]", body: bytes) -> Response:
        """Runs one of the methods, and counts it."""
        wanted = _wanted(match[1], match[2], match[3])
        method = match[4].lower()
        start, code = time.perf_counter(), "OK"
        try:
            return Response(200, self._run(method, wanted, body))
        except ServingError as error:
            code = error.code
            raise
        finally:
            name = wanted.name if wanted.name in self._versions.names else ""
            self._metrics.requests.add(1, name, code)
            self._metrics.request_latency.add(
                (time.perf_counter() - start) * 1e6,
                name,
                _APIS[method],
                "REST",
            )

    def _run(self, method: str, wanted: Wanted, body: bytes) -> bytes:
        """Waits for its turn, then runs one of the methods."""
        deadline = Deadline(self._timeout)
        if not self._slots.acquire(timeout=deadline.left()):
            raise expired()
        try:
            return self._answer(method, wanted, body, deadline)
        finally:
            self._slots.release()

    def _answer(
        self, method: str, wanted: Wanted, body: bytes, deadline: Deadline
    ) -> bytes:
        """Returns the body of the response of one of the methods."""
        document = json_text.parse(body)
        name = rest_requests.signature_name(document)
        if method != "predict":
            examples = rest_examples.examples(document)
            with self._versions.use(wanted) as servable:
                if method == "classify":
                    return rest_responses.classifications(
                        self._inference.classify(
                            servable, name, examples, deadline
                        )
                    )
                return rest_responses.regressions(
                    self._inference.regress(servable, name, examples, deadline)
                )
        with self._versions.use(wanted) as servable:
            signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
            if signature is None:
                raise invalid_argument(
                    f'Serving signature name: "{name or DEFAULT_SIGNATURE}" '
                    "not found in signature def"
                )
            form, inputs = rest_requests.tensors(document, signature)
            outputs = self._inference.predict(
                servable, name, inputs, (), deadline
            )
        return rest_responses.response(form, outputs, signature.outputs)

    def _describe(self, match: "re.Match[str]") -> bytes:
        """Returns the status or the metadata of a model."""
        if not match[1]:
            raise invalid_argument("Missing model name in request.")
        wanted = _wanted(match[1], match[2], match[3])
        if not match[4]:
            message = status(self._versions, wanted)
            return json_format.MessageToJson(
                message,
                always_print_fields_with_no_presence=True,
                preserving_proto_field_name=True,
                indent=1,
            ).encode()
        number, signatures = metadata(self._versions, wanted)
        spec = ModelSpec(name=wanted.name)
        spec.version.value = number
        parts = [
            json_format.MessageToJson(
                message,
                always_print_fields_with_no_presence=True,
                preserving_proto_field_name=True,
                indent=1,
            )
            for message in (spec, signatures)
        ]
        return (
            f'{{\n"model_spec":{parts[0]},\n'
            f'"metadata": {{"signature_def": {parts[1]}}}\n}}\n'
        ).encode()

    def _stream(self, wanted: Wanted, body: bytes) -> Response:
        """Streams a generation, outside the contract."""
        events = streaming.events(
            self._versions, wanted, json_text.parse(body), self._timeout
        )
        return Response(
            200, events, "text/event-stream", {"Cache-Control": "no-store"}
        )


def _wanted(name: str, number: str | None, label: str | None) -> Wanted:
    """Returns what a path asks for."""
    name = urllib.parse.unquote(name)
    if label:
        return Wanted(name, label=urllib.parse.unquote(label))
    if not number:
        return Wanted(name)
    if int(number) > _MOST_VERSION:
        raise invalid_argument(
            f"Failed to convert version: {number} to numeric."
        )
    return Wanted(name, int(number))


def _failure(error: ServingError) -> Response:
    return Response(
        HTTP_STATUS[error.code], json_text.error_body(error.message)
    )
