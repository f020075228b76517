"""HTTP/1.1 server with keep-alive, a thread per connection, and limits.

A slow or silent client holds a thread until it times out; at most
`Limits.connections` are served at a time. A client that closes its sending
side early still gets its answer.
"""

import contextlib
import functools
import logging
import socket
import socketserver
import sys
import threading
from typing import Any

from tfllm.server import json_text
from tfllm.server.http_connection import Connection
from tfllm.server.http_messages import Response, Service

logger = logging.getLogger(__name__)


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on a port and answers requests.

    Args:
        address: Host and port; port 0 takes a free one.
        service: Answers the requests.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._service = service
        self._draining = False
        self._changed = threading.Condition()
        # Connection -> whether it answers a request now.
        self._connections: dict[socket.socket, bool] = {}
        super().__init__(address, socketserver.BaseRequestHandler)

    @property
    def port(self) -> int:
        """Port that the server listens on."""
        return self.server_address[1]  # type: ignore[return-value]

    def start(self) -> None:
        """Starts to answer requests, in threads."""
        threading.Thread(
            target=self.serve_forever, args=(0.05,), name="http", daemon=True
        ).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection, unless there are too many."""
        with self._changed:
            accepted = len(self._connections) < self._service.limits.connections
            if accepted:
                self._connections[request] = False
        if accepted:
            super().process_request(request, client_address)
            return
        # Not over TLS: the client has not shaken hands yet.
        if self._service.tls is None:
            body = json_text.error_body("Too many connections")
            with contextlib.suppress(OSError):
                self._connection(request).send(Response(503, body), False)
        self.shutdown_request(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answers the requests of a connection, in its thread."""
        self._connection(request).serve()

    def _connection(self, accepted: socket.socket) -> Connection:
        return Connection(
            accepted,
            self._service,
            functools.partial(self._set_busy, accepted),
        )

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection."""
        with self._changed:
            self._connections.pop(request, None)
            self._changed.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs an error, unless the client went away."""
        error = sys.exception()
        if not isinstance(error, OSError):
            logger.exception("connection from %s", client_address)

    def _set_busy(self, connection: socket.socket, busy: bool) -> bool:
        """Marks a connection as busy or idle; False while the server stops."""
        with self._changed:
            if connection in self._connections:
                self._connections[connection] = busy
            self._changed.notify_all()
            return not self._draining

    def stop(self, grace_seconds: float) -> bool:
        """Accepts no more requests and finishes the accepted ones.

        Args:
            grace_seconds: Seconds to wait for the accepted requests.

        Returns:
            Whether all finished.
        """
        self.shutdown()
        self.server_close()
        with self._changed:
            self._draining = True
            for connection, busy in self._connections.items():
                if not busy:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)
            return self._changed.wait_for(
                lambda: not any(self._connections.values()), grace_seconds
            )
