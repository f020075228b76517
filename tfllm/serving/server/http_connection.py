"""One connection of HTTP: reads requests, sends responses.

What cannot be read is answered, too, and ends the connection.
"""

import contextlib
import http.server
import io
import logging
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tfllm.serving.server import json_text
from tfllm.serving.server.http_messages import (
    Refused,
    Request,
    Response,
    head_of,
    too_large,
    unpacked,
)

if TYPE_CHECKING:
    from tfllm.serving.server.http_server import HttpServer

logger = logging.getLogger(__name__)

_LONGEST_LINE = 65536
# How long it is read what a refused client still sends, so that it gets to
# read why.
_LINGER_SECONDS = 2.0


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


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection: reads requests, writes responses."""

    server: "HttpServer"
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
        except Refused as error:
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
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "URI too long")
        if not self.raw_requestline:
            return False
        if not self.raw_requestline.strip():
            raise Refused(HTTPStatus.BAD_REQUEST, "Bad request syntax")
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
            raise Refused(HTTPStatus.BAD_REQUEST, "Bad transfer encoding")
        if not (length.isascii() and length.isdigit()) or (
            len(self.headers.get_all("content-length", ())) > 1
        ):
            raise Refused(HTTPStatus.BAD_REQUEST, "Bad content length")
        if len(length) > 18 or int(length) > limit:
            raise too_large(limit)
        if headers.get("expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if chunked:
            body = self._read_chunks(limit)
        else:
            body = self._read_exactly(int(length))
        if "gzip" in headers.get("content-encoding", ""):
            body = unpacked(body, limit)
        return body

    def _read_exactly(self, length: int) -> bytes:
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            raise Refused(
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
                raise Refused(HTTPStatus.BAD_REQUEST, "Bad chunk")
            if len(body) + size > limit:
                raise too_large(limit)
            if not size:
                while self.rfile.readline(_LONGEST_LINE).strip():
                    pass
                return bytes(body)
            body += self._read_exactly(size)
            if self.rfile.readline(1024).strip():
                raise Refused(HTTPStatus.BAD_REQUEST, "Bad chunk")

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
            head = head_of(
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
        head = head_of(
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
