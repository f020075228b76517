"""HTTP requests, responses, limits and refusals."""

import dataclasses
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus

JSON = "application/json"


@dataclasses.dataclass(frozen=True)
class Request:
    """A complete request.

    Attributes:
        method: Such as "POST".
        path: Path and query, as sent.
        headers: Names in lower case.
        body: Decompressed.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Response:
    """A response.

    Attributes:
        status: HTTP status code.
        body: Whole body, or pieces that are sent as they come.
        content_type: Content type of the body.
        headers: Further headers.
    """

    status: int
    body: bytes | Iterator[bytes]
    content_type: str = JSON
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a connection.

    Attributes:
        body_bytes: Largest size of a decompressed body.
        connections: Most connections at a time.
        idle_seconds: Timeout between two requests of a connection.
        read_seconds: Timeout from the first byte of a request to its last.
        write_seconds: Timeout of each write of a response.
    """

    body_bytes: int = 64 << 20
    connections: int = 512
    idle_seconds: float = 120.0
    read_seconds: float = 30.0
    write_seconds: float = 60.0


Handler = Callable[[Request], Response]
# Path and headers -> a refusal, or None; called before the body is read.
Gate = Callable[[str, Mapping[str, str]], Response | None]


@dataclasses.dataclass(frozen=True)
class Service:
    """What a server needs to answer requests.

    Attributes:
        handler: Answers requests.
        gate: Refuses requests before their body is read, or None.
        limits: Limits of each connection.
        tls: Certificates, for HTTPS.
    """

    handler: Handler
    gate: Gate | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)
    tls: ssl.SSLContext | None = None


class Refused(Exception):
    """A request that cannot be read; its error ends the connection."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def too_large(limit: int) -> Refused:
    """Returns the error for a body that is too large."""
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"Body is larger than {limit} bytes",
    )


def unpacked(body: bytes | bytearray, limit: int) -> bytes:
    """Decompresses gzip up to the limit."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        content = unpack.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused(
            HTTPStatus.BAD_REQUEST, "Failed to uncompress the gzipped body"
        ) from error
    if len(content) > limit:
        raise too_large(limit)
    return content
