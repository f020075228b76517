"""HTTP/1.1 with keep-alive: a thread per connection, and limits on all of it.

A slow or silent client costs a thread until its time is up, and no more than
`max_connections` are served at once. A client that closes its side early still
gets its answer.
"""

import contextlib
import dataclasses
import http.server
import io
import logging
import socket
import socketserver
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from tfllm.serving.server import json_text

logger = logging.getLogger(__name__)

JSON = "application/json"
_LONGEST_LINE = 65536
# How long, and how much, is read of what a refused client still sends, so
# that it gets to read why.
_LINGER_SECONDS = 2.0


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


class _Refused(Exception):
    """A request that cannot be read; the connection ends with the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Reader(io.RawIOBase):
    """Reads a socket until a moment that moves with the requests."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.end = time.monotonic()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens, and answers with a handler.

    Args:
        address: Host and port; port 0 takes a free one.
        handler: Answers requests.
        gate: Refuses requests before their body is read, or None.
        limits: What a client may ask for.
        tls: Certificates, for HTTPS.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(
        self,
        address: tuple[str, int],
        handler: Handler,
        gate: Gate | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """See the class."""
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.handler = handler
        self.gate = gate
        self.limits = limits or Limits()
        self.tls = tls
        self.draining = False
        self._changed = threading.Condition()
        # Connection -> whether it answers a request now.
        self._connections: dict[socket.socket, bool] = {}
        super().__init__(address, _Connection)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.server_address[1]  # type: ignore[return-value]

    def start(self) -> None:
        """Answers requests in threads."""
        threading.Thread(
            target=self.serve_forever, args=(0.05,), name="http", daemon=True
        ).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection, unless there are too many."""
        with self._changed:
            accepted = len(self._connections) < self.limits.connections
            if accepted:
                self._connections[request] = False
        if accepted:
            super().process_request(request, client_address)
            return
        body = json_text.error_body("Too many connections")
        with contextlib.suppress(OSError):
            request.settimeout(0)
            # Not over TLS: the client has not shaken hands yet.
            if self.tls is None:
                request.send(_head(503, len(body), JSON, {}, False) + body)
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection."""
        with self._changed:
            self._connections.pop(request, None)
            self._changed.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs a bug; clients that went away are none."""
        error = sys.exception()
        if not isinstance(error, OSError):
            logger.exception("connection from %s", client_address)

    def is_busy(self, connection: socket.socket, busy: bool) -> bool:
        """Notes whether a connection answers; returns whether it may go on."""
        with self._changed:
            if connection in self._connections:
                self._connections[connection] = busy
            self._changed.notify_all()
            return not self.draining

    def stop(self, grace_seconds: float) -> bool:
        """Takes no new requests and finishes those that it has.

        Args:
            grace_seconds: How long to wait for them.

        Returns:
            Whether all were finished.
        """
        self.shutdown()
        self.server_close()
        with self._changed:
            self.draining = True
            for connection, busy in self._connections.items():
                if not busy:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)
            return self._changed.wait_for(
                lambda: not any(self._connections.values()), grace_seconds
            )


class _Connection(http.server.BaseHTTPRequestHandler):
    """One connection: reads requests, writes responses."""

    server: HttpServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Whole responses are sent at once; only "100 Continue" goes through it.
    wbufsize = 0

    def setup(self) -> None:
        """Shakes hands, and puts an end to reading."""
        self._accepted = self.request
        limits = self.server.limits
        if self.server.tls is not None:
            self.request.settimeout(limits.read_seconds)
            self.request = self.server.tls.wrap_socket(
                self.request, server_side=True
            )
        super().setup()
        # Until the first line of a request is read.
        self.command, self.requestline = "", ""
        self.request_version = self.protocol_version
        self._reader = _Reader(self.connection)
        self._buffer = io.BufferedReader(self._reader, _LONGEST_LINE)
        self.rfile = self._buffer

    def finish(self) -> None:
        """Ends TLS; the server closes the rest."""
        super().finish()
        if self.request is not self._accepted:
            self.request.close()

    def handle_one_request(self) -> None:
        """Reads a request and answers it."""
        self.close_connection = True
        try:
            self._reader.end = (
                time.monotonic() + self.server.limits.idle_seconds
            )
            if not self._buffer.peek(1):
                return
        except OSError:
            return
        if not self.server.is_busy(self._accepted, True):
            return
        try:
            self._answer()
        except OSError:
            self.close_connection = True
        finally:
            if not self.server.is_busy(self._accepted, False):
                self.close_connection = True

    def _answer(self) -> None:
        self._reader.end = time.monotonic() + self.server.limits.read_seconds
        try:
            if not self._read_head():
                return
            headers = {k.lower(): v for k, v in self.headers.items()}
            response = None
            if self.server.gate is not None:
                response = self.server.gate(self.path, headers)
            if response is not None:
                self.close_connection = True
                self._send(response)
                self._linger()
                return
            body = self._read_body(headers)
        except TimeoutError:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "Request timed out")
            return
        except _Refused as error:
            self._refuse(error.status, str(error))
            return
        request = Request(self.command, self.path, headers, body)
        try:
            response = self.server.handler(request)
        except Exception:
            logger.exception("%s %s", self.command, self.path)
            response = Response(500, json_text.error_body("Internal error"))
        self._send(response)

    def _read_head(self) -> bool:
        """Reads the request line and the headers; False if it answered."""
        self.raw_requestline = self.rfile.readline(_LONGEST_LINE + 1)
        if self.raw_requestline in (b"\r\n", b"\n"):
            # Some clients end a body with a line too many.
            self.raw_requestline = self.rfile.readline(_LONGEST_LINE + 1)
        if len(self.raw_requestline) > _LONGEST_LINE:
            raise _Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "URI too long")
        if not self.raw_requestline:
            return False
        if not self.raw_requestline.strip():
            raise _Refused(HTTPStatus.BAD_REQUEST, "Bad request syntax")
        return self.parse_request()

    def handle_expect_100(self) -> bool:
        """Lets `_read_body` ask for the body, once it knows its size."""
        return True

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        limit = self.server.limits.body_bytes
        chunked = "transfer-encoding" in headers
        length = headers.get("content-length", "0")
        if chunked and (
            headers["transfer-encoding"].lower() != "chunked"
            or "content-length" in headers
        ):
            raise _Refused(HTTPStatus.BAD_REQUEST, "Bad transfer encoding")
        if not (length.isascii() and length.isdigit()) or (
            len(self.headers.get_all("content-length", ())) > 1
        ):
            raise _Refused(HTTPStatus.BAD_REQUEST, "Bad content length")
        if len(length) > 18 or int(length) > limit:
            raise _too_large(limit)
        if headers.get("expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if chunked:
            body = self._read_chunks(limit)
        else:
            body = self._read_exactly(int(length))
        if "gzip" in headers.get("content-encoding", ""):
            body = _unpacked(body, limit)
        return body

    def _read_exactly(self, length: int) -> bytes:
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            raise _Refused(
                HTTPStatus.BAD_REQUEST,
                f"Body ended after {len(body)} of {length} bytes",
            )
        return body

    def _read_chunks(self, limit: int) -> bytes:
        body = bytearray()
        while True:
            line = self.rfile.readline(1024).split(b";")[0].strip()
            try:
                # int() also takes signs and underscores.
                size = int(line, 16) if line.isalnum() else -1
            except ValueError:
                size = -1
            if size < 0:
                raise _Refused(HTTPStatus.BAD_REQUEST, "Bad chunk")
            if len(body) + size > limit:
                raise _too_large(limit)
            if not size:
                while self.rfile.readline(_LONGEST_LINE).strip():
                    pass
                return bytes(body)
            body += self._read_exactly(size)
            if self.rfile.readline(1024).strip():
                raise _Refused(HTTPStatus.BAD_REQUEST, "Bad chunk")

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Refuses what the standard library cannot parse."""
        self._refuse(code, message or HTTPStatus(code).phrase)

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        self._send(Response(status, json_text.error_body(message)))
        self._linger()

    def _send(self, response: Response) -> None:
        self.connection.settimeout(self.server.limits.write_seconds)
        body = response.body
        if isinstance(body, bytes):
            keep = not self.close_connection and not self.server.draining
            self.close_connection = not keep
            head = _head(
                response.status,
                len(body),
                response.content_type,
                response.headers,
                keep,
            )
            if self.command == "HEAD":
                body = b""
            self.connection.sendall(head + body)
            return
        # Pieces end with the connection; HTTP/1.0 clients understand that.
        self.close_connection = True
        head = _head(
            response.status,
            None,
            response.content_type,
            response.headers,
            False,
        )
        self.connection.sendall(head)
        for piece in body:
            self.connection.sendall(piece)

    def _linger(self) -> None:
        """Reads on for a while: closing at once could lose the answer."""
        self._reader.end = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError, ValueError):
            self._accepted.shutdown(socket.SHUT_WR)
            while self.rfile.read1(_LONGEST_LINE):
                pass

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing per request."""


def _head(
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


def _too_large(limit: int) -> _Refused:
    return _Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"Body is larger than {limit} bytes",
    )


def _unpacked(body: bytes, limit: int) -> bytes:
    """Unpacks gzip, but never more than the limit."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        content = unpack.decompress(body, limit + 1)
    except zlib.error as error:
        raise _Refused(
            HTTPStatus.BAD_REQUEST, "Failed to uncompress the gzipped body"
        ) from error
    if len(content) > limit:
        raise _too_large(limit)
    return content
