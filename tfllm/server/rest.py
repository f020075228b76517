"""TensorFlow Serving's REST API, and the additions of this server.

Error messages are those of TensorFlow Serving.

Reference: tensorflow/serving 2.20, model_servers/http_rest_api_handler.cc and
http_rest_api_util.cc.
"""

import re
import threading
import urllib.parse
from collections.abc import Mapping

from google.protobuf import json_format
from google.protobuf.message import Message

from tfllm.server import (
    json_text,
    metrics,
    page,
    rest_examples,
    rest_requests,
    rest_responses,
    streaming,
)
from tfllm.server.access import Access
from tfllm.server.deadlines import Deadline
from tfllm.server.http_messages import Request, Response
from tfllm.server.inference import DEFAULT_SIGNATURE, Inference
from tfllm.server.metrics import Metrics
from tfllm.server.model_config import MAX_VERSION
from tfllm.server.model_status import metadata, status
from tfllm.server.model_versions import ModelVersions, Target
from tfllm.server.protos import ModelSpec
from tfllm.server.statuses import (
    HTTP_STATUS,
    ServingError,
    expired,
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
_APIS = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}


class Rest:
    """Answers HTTP requests.

    Args:
        versions: The models.
        inference: Runs the models.
        numbers: Records counts and latencies.
        access: Checks the API key.
        timeout_seconds: Timeout of a request.
        num_threads: Requests that run at a time; others wait. More threads
            would compete for the global interpreter lock.
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
        self._versions = versions
        self._inference = inference
        self._metrics = numbers
        self._access = access
        self._timeout = timeout_seconds
        self._slots = threading.BoundedSemaphore(num_threads)

    def gate(self, path: str, headers: Mapping[str, str]) -> Response | None:
        """Refuses requests without the key; only the page needs none."""
        if path == "/" or self._access.allows(headers):
            return None
        return _failure(self._access.refusal())

    def answer(self, request: Request) -> Response:
        """Answers a request."""
        path = request.path
        try:
            if path.lower().startswith("/v1/"):
                return self._answer_api(request)
            if request.method == "POST":
                match = re.fullmatch(streaming.PATH, path)
                if match:
                    return self._stream(_target(*match.groups()), request.body)
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

    def _answer_api(self, request: Request) -> Response:
        """Answers a request to TensorFlow Serving's API."""
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
        """Runs a prediction and counts it."""
        target = _target(match[1], match[2], match[3])
        method = match[4].lower()
        model = target.name if target.name in self._versions.names else ""
        with self._metrics.counting(model, _APIS[method], "REST"):
            return Response(200, self._run(method, target, body))

    def _run(self, method: str, target: Target, body: bytes) -> bytes:
        """Waits for a free slot, then runs a prediction."""
        deadline = Deadline(self._timeout)
        if not self._slots.acquire(timeout=deadline.left()):
            raise expired()
        try:
            return self._predict(method, target, body, deadline)
        finally:
            self._slots.release()

    def _predict(
        self, method: str, target: Target, body: bytes, deadline: Deadline
    ) -> bytes:
        """Runs predict, classify or regress; returns the response body."""
        document = json_text.parse(body)
        name = rest_requests.signature_name(document)
        if method != "predict":
            examples = rest_examples.examples(document)
            with self._versions.use(target) as servable:
                if method == "classify":
                    return rest_responses.classifications(
                        self._inference.classify(
                            servable, name, examples, deadline
                        )
                    )
                return rest_responses.regressions(
                    self._inference.regress(servable, name, examples, deadline)
                )
        with self._versions.use(target) as servable:
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
        target = _target(match[1], match[2], match[3])
        if not match[4]:
            return _to_json(status(self._versions, target)).encode()
        number, signatures = metadata(self._versions, target)
        spec = ModelSpec(name=target.name)
        spec.version.value = number
        return (
            f'{{\n"model_spec":{_to_json(spec)},\n'
            f'"metadata": {{"signature_def": {_to_json(signatures)}}}\n}}\n'
        ).encode()

    def _stream(self, target: Target, body: bytes) -> Response:
        """Streams generated text; TensorFlow Serving has no such call."""
        events = streaming.events(
            self._versions,
            self._inference,
            target,
            json_text.parse(body),
            self._timeout,
        )
        return Response(
            200, events, "text/event-stream", {"Cache-Control": "no-store"}
        )


def _to_json(message: Message) -> str:
    """Returns a message as JSON, in the form of TensorFlow Serving."""
    return json_format.MessageToJson(
        message,
        always_print_fields_with_no_presence=True,
        preserving_proto_field_name=True,
        indent=1,
    )


def _target(name: str, number: str | None, label: str | None) -> Target:
    """Returns the model and version of a path."""
    name = urllib.parse.unquote(name)
    if label:
        return Target(name, label=urllib.parse.unquote(label))
    if not number:
        return Target(name)
    if int(number) > MAX_VERSION:
        raise invalid_argument(
            f"Failed to convert version: {number} to numeric."
        )
    return Target(name, int(number))


def _failure(error: ServingError) -> Response:
    return Response(
        HTTP_STATUS[error.code], json_text.error_body(error.message)
    )
