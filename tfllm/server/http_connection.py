"""One connection of HTTP/1.1: reads requests with h11, sends responses.

A request that cannot be read gets an error, which ends the connection.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import responses as reasons

import h11

from tfllm.server import json_text
from tfllm.server.http_messages import (
    Refused,
    Request,
    Response,
    Service,
    too_large,
    unpacked,
)

logger = logging.getLogger(__name__)

_MAX_HEADERS = 100
# Bytes of a request line with its headers, and of one read. A head may be
# longer by one read.
_HEAD_BYTES = _READ_BYTES = 1 << 15
# Seconds to keep reading from a refused client, so that it receives the error.
_LINGER_SECONDS = 2.0


class Connection:
    """Answers the requests of one client, one at a time.

    Args:
        accepted: The client's socket.
        service: Answers the requests.
        set_busy: Called with True before a request is answered and with False
            after it; returns whether another request may follow.
    """

    def __init__(
        self,
        accepted: socket.socket,
        service: Service,
        set_busy: Callable[[bool], bool],
    ) -> None:
        self._accepted = self._socket = accepted
        self._service = service
        self._limits = service.limits
        self._set_busy = set_busy
        # Time at which reading ends; moves with the requests.
        self._end = 0.0
        self._http = h11.Connection(h11.SERVER)
        self._method = ""

    def serve(self) -> None:
        """Answers requests until either side closes the connection.

        Raises:
            OSError: The TLS handshake failed.
        """
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._service.tls is not None:
            self._socket.settimeout(self._limits.read_seconds)
            self._socket = self._service.tls.wrap_socket(
                self._socket, server_side=True
            )
        try:
            with contextlib.suppress(OSError):  # the client went away
                while self._serve_request():
                    pass
        finally:
            if self._socket is not self._accepted:
                self._socket.close()

    def _serve_request(self) -> bool:
        """Waits for a request and answers it; False after the last request."""
        self._end = time.monotonic() + self._limits.idle_seconds
        start = self._http.trailing_data[0] or self._read()
        if not start or not self._set_busy(True):
            return False
        try:
            keep = self._answer(start)
        finally:
            accepting = self._set_busy(False)
        return keep and accepting

    def _answer(self, start: bytes) -> bool:
        """Reads and answers the request that starts with these bytes."""
        self._end = time.monotonic() + self._limits.read_seconds
        self._http = h11.Connection(h11.SERVER, _HEAD_BYTES)
        self._method = ""
        try:
            request = self._read_request(start)
        except TimeoutError:
            return self._refuse(408, "Request timed out")
        except h11.RemoteProtocolError as error:
            return self._refuse(*self._reason(error))
        except Refused as error:
            return self._refuse(error.status, str(error))
        if request is None:
            return False
        if isinstance(request, Response):
            return self._end_with(request)
        try:
            response = self._service.handler(request)
        except Exception:
            logger.exception("%s %s", request.method, request.path)
            response = Response(500, json_text.error_body("Internal error"))
        # A stream ends its connection.
        keep = isinstance(response.body, bytes) and self._set_busy(True)
        self.send(response, keep)
        return keep and self._http.our_state is h11.DONE

    def _read_request(self, start: bytes) -> Request | Response | None:
        """Returns a request, the refusal of the gate, or None at the end.

        Raises:
            TimeoutError: The client is too slow.
            h11.RemoteProtocolError: The client does not speak HTTP.
            Refused: The request is too large, or not supported.
        """
        # Some clients send an empty line after a body (RFC 9112, 2.2).
        if start := start.removeprefix(b"\r\n"):
            self._http.receive_data(start)
        event = self._next_event()
        if not isinstance(event, h11.Request):
            return None
        path, headers = self._head(event)
        if self._service.gate is not None:
            refusal = self._service.gate(path, headers)
            if refusal is not None:
                return refusal
        return Request(self._method, path, headers, self._read_body(headers))

    def _read(self) -> bytes:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return self._socket.recv(_READ_BYTES)

    def _next_event(self) -> h11.Event:
        while not isinstance(event := self._http.next_event(), h11.Event):
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(
                    status_code=100, headers=[], reason="Continue"
                )
                self._socket.sendall(self._http.send(go_on))
            self._http.receive_data(self._read())
        return event

    def _head(self, request: h11.Request) -> tuple[str, dict[str, str]]:
        """Returns path and headers, names in lower case."""
        self._method = request.method.decode()
        if not request.http_version.startswith(b"1."):
            raise Refused(
                HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Invalid HTTP version"
            )
        if len(request.headers) > _MAX_HEADERS:
            raise Refused(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Too many headers"
            )
        headers = {
            name.decode(): value.decode("latin-1")
            for name, value in request.headers
        }
        return request.target.decode(), headers

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        limit = self._limits.body_bytes
        # A proxy that reads the other header could let a request be smuggled.
        if {"content-length", "transfer-encoding"} <= headers.keys():
            raise Refused(HTTPStatus.BAD_REQUEST, "Bad transfer encoding")
        if int(headers.get("content-length", 0)) > limit:
            raise too_large(limit)
        body = bytearray()
        while isinstance(event := self._next_event(), h11.Data):
            body += event.data
            if len(body) > limit:
                raise too_large(limit)
        if "gzip" in headers.get("content-encoding", ""):
            return unpacked(body, limit)
        return bytes(body)

    def _reason(self, error: h11.RemoteProtocolError) -> tuple[int, str]:
        """Returns status and message for a request that h11 refuses."""
        status = error.error_status_hint
        if status != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            return HTTPStatus.BAD_REQUEST, f"Bad request: {error}"
        if b"\n" not in self._http.trailing_data[0]:
            return HTTPStatus.REQUEST_URI_TOO_LONG, "URI too long"
        return status, "Headers are too long"

    def _refuse(self, status: int, message: str) -> bool:
        return self._end_with(Response(status, json_text.error_body(message)))

    def _end_with(self, response: Response) -> bool:
        """Sends the last response of the connection; returns False."""
        self.send(response, False)
        # Closing at once could discard the response.
        self._end = time.monotonic() + _LINGER_SECONDS
        self._accepted.shutdown(socket.SHUT_WR)
        while self._read():
            pass
        return False

    def send(self, response: Response, keep: bool) -> None:
        """Sends a response, whole or in pieces.

        Args:
            response: Response to send.
            keep: Whether the client may send another request.

        Raises:
            OSError: The client went away.
        """
        self._socket.settimeout(self._limits.write_seconds)
        body = response.body
        headers = [("Content-Type", response.content_type)]
        headers += response.headers.items()
        if isinstance(body, bytes):
            headers.append(("Content-Length", str(len(body))))
        headers.append(("Connection", "keep-alive" if keep else "close"))
        content = self._http.send(
            h11.Response(
                status_code=response.status,
                headers=headers,
                reason=reasons.get(response.status, "Client Closed Request"),
            )
        )
        if self._method == "HEAD":
            body = b""
        if isinstance(body, bytes):
            content += self._http.send(h11.Data(body))
        else:
            self._socket.sendall(content)
            for piece in body:
                self._socket.sendall(self._http.send(h11.Data(piece)))
            content = b""
        self._socket.sendall(content + self._http.send(h11.EndOfMessage()))
