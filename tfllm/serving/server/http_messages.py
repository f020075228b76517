"""What goes over HTTP: requests, responses, and what is refused."""

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus

JSON = "application/json"


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that was read to its end.

    Attributes:
        method: Such as "POST".
        path: With the query, as it came.
        headers: Names in lower case.
        body: Unpacked.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Response:
    """What goes back.

    Attributes:
        status: Of HTTP.
        body: Whole, or pieces that are sent as they come.
        content_type: Of the body.
        headers: More of them.
    """

    status: int
    body: bytes | Iterator[bytes]
    content_type: str = JSON
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Attributes:
        body_bytes: Size of a body, unpacked.
        connections: At once.
        idle_seconds: Between two requests of a connection.
        read_seconds: From the first byte of a request to its last.
        write_seconds: For a response.
    """

    body_bytes: int = 64 << 20
    connections: int = 512
    idle_seconds: float = 120.0
    read_seconds: float = 30.0
    write_seconds: float = 60.0


Handler = Callable[[Request], Response]
# Decides by method, path and headers before a body is read.
Gate = Callable[[str, Mapping[str, str]], Response | None]


class Refused(Exception):
    """A request that cannot be read; the connection ends with the answer."""

    def __init__(self, status: int, message: str) -> None:
        """See the class."""
        super().__init__(message)
        self.status = status


def head_of(
    status: int,
    length: int | None,
    content_type: str,
    headers: Mapping[str, str],
    keep_alive: bool,
) -> bytes:
    """Returns the status line and the headers of a response."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # 499
        phrase = "Client Closed Request"
    lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Type: {content_type}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Connection: {'keep-alive' if keep_alive else 'close'}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def too_large(limit: int) -> Refused:
    """Returns the refusal of a body."""
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"Body is larger than {limit} bytes",
    )


def unpacked(body: bytes, limit: int) -> bytes:
    """Unpacks gzip, but never more than the limit."""
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
