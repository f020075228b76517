"""Errors of requests and their status codes."""

import contextlib
from collections.abc import Iterator

from tfllm.runtime.c_api import CODES
from tfllm.runtime.c_loader import RuntimeFailure

# Reference: tensorflow/serving 2.20, model_servers/http_server.cc.
HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
NUMBERS = {name: number for number, name in CODES.items()}


class ServingError(Exception):
    """Error of a request.

    Attributes:
        code: Key of `HTTP_STATUS`.
        message: TensorFlow Serving's message, where it has one.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_argument(message: str) -> ServingError:
    """Returns an INVALID_ARGUMENT error."""
    return ServingError("INVALID_ARGUMENT", message)


def expired() -> ServingError:
    """Returns the error of a request that timed out."""
    return ServingError("DEADLINE_EXCEEDED", "Deadline Exceeded")


@contextlib.contextmanager
def from_runtime() -> Iterator[None]:
    """Turns errors of the C++ runtime into errors of the request."""
    try:
        yield
    except RuntimeFailure as error:
        code = CODES.get(error.code, "UNKNOWN")
        if code == "DEADLINE_EXCEEDED":
            raise expired() from error
        raise ServingError(code, error.message) from error
