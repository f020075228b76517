"""Asks a server, one request after the other or with several clients."""

import concurrent.futures
import http.client
import json
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

HOST = "127.0.0.1"


class Client(http.client.HTTPConnection):
    """A connection that stays open.

    Args:
        port: Of the server, on this machine.
        timeout: Seconds that an answer may take.
    """

    def __init__(self, port: int, timeout: float) -> None:
        """See the class."""
        super().__init__(HOST, port, timeout=timeout)

    def connect(self) -> None:
        """Connects; bodies are sent at once, not after the head was seen."""
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path: str, body: Any = None) -> Any:
        """Returns the JSON of a page, or of the answer to a body.

        Raises:
            RuntimeError: The server refuses.
            OSError: It does not answer.
        """
        return json.loads(self.read(path, body))

    def read(self, path: str, body: Any = None) -> bytes:
        """Returns a page, or the answer to a body that is sent as JSON."""
        self.request(
            "GET" if body is None else "POST",
            path,
            None if body is None else json.dumps(body),
            {"Content-Type": "application/json"},
        )
        response = self.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status} {content[:200]!r}")
        return content


Ask = Callable[[Client, str], Any]


def latencies(
    client: Client, ask: Ask, texts: Sequence[str], seconds: float
) -> list[float]:
    """Returns the seconds of requests, one after the other.

    Args:
        client: Asks.
        ask: Sends a text.
        texts: In turns; at least one is sent.
        seconds: How long to go on.
    """
    found: list[float] = []
    end = time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        text = texts[len(found) % len(texts)]
        began = time.perf_counter()
        ask(client, text)
        found.append(time.perf_counter() - began)
    return found


def throughput(
    port: int,
    ask: Ask,
    texts: Sequence[str],
    clients: int,
    seconds: float,
    timeout: float,
) -> float:
    """Returns requests per second of clients that ask without a pause.

    Requests count that are answered between the first moment and the last;
    those that are under way at either end make up for each other.

    Args:
        port: Of the server.
        ask: Sends a text.
        texts: Each client begins at another one.
        clients: How many.
        seconds: How long to count, after a start that does not count.
        timeout: Seconds that an answer may take.
    """
    begin = time.perf_counter() + min(seconds / 4, 2.0)
    end = begin + seconds

    def work(number: int) -> int:
        client, counted = Client(port, timeout), 0
        try:
            while time.perf_counter() < end:
                number += clients
                ask(client, texts[number % len(texts)])
                counted += begin <= time.perf_counter() < end
        finally:
            client.close()
        return counted

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(work, range(clients))) / seconds
