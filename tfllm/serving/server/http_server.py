"""HTTP/1.1 with keep-alive: a thread per connection, and limits on all of it.

A slow or silent client costs a thread until its time is up, and no more than
`Limits.connections` are served at once. A client that closes its side early
still gets its answer.
"""

import contextlib
import logging
import socket
import socketserver
import ssl
import sys
import threading
from typing import Any

from tfllm.serving.server import json_text
from tfllm.serving.server.http_connection import Connection
from tfllm.serving.server.http_messages import (
    JSON,
    Gate,
    Handler,
    Limits,
    head_of,
)

logger = logging.getLogger(__name__)


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
        super().__init__(address, Connection)

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
                request.send(head_of(503, len(body), JSON, {}, False) + body)
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
