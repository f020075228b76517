"""Measures latency and throughput of a server."""

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
        port: Port of the server on this machine.
        timeout: Timeout of an answer in seconds.
    """

    def __init__(self, port: int, timeout: float) -> None:
        super().__init__(HOST, port, timeout=timeout)

    def connect(self) -> None:
        """Connects; head and body of a request are sent without delay."""
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path: str, body: Any = None) -> Any:
        """Returns a JSON answer; POSTs `body` as JSON, if there is one.

        Raises:
            RuntimeError: The status is not 200.
            OSError: The server does not answer.
        """
        return json.loads(self.read(path, body))

    def read(self, path: str, body: Any = None) -> bytes:
        """Returns the content of an answer; see `ask`."""
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
    """Returns the seconds of each request, sent one at a time.

    Args:
        client: Connection to the server.
        ask: Sends a text.
        texts: Texts, sent in turns.
        seconds: Seconds to send requests; at least one is sent.
    """
    measured: list[float] = []
    end = time.perf_counter() + seconds
    while not measured or time.perf_counter() < end:
        text = texts[len(measured) % len(texts)]
        began = time.perf_counter()
        ask(client, text)
        measured.append(time.perf_counter() - began)
    return measured


def throughput(
    port: int,
    ask: Ask,
    texts: Sequence[str],
    clients: int,
    seconds: float,
    timeout: float,
) -> float:
    """Returns requests per second of clients that send without a pause.

    It counts the requests that are answered within the period; unfinished
    requests at its beginning and end cancel out.

    Args:
        port: Port of the server.
        ask: Sends a text.
        texts: Texts; each client begins with another one.
        clients: Number of clients.
        seconds: Length of the period, which follows a warm-up.
        timeout: Timeout of an answer in seconds.
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
