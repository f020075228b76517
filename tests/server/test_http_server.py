"""HTTP byte by byte: broken, slow, huge and half-closed requests."""

import gzip
import io
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tfllm.server.http_messages import Limits, Request, Response, Service
from tfllm.server.http_server import HttpServer

GZIP = "Content-Encoding: gzip"
LIMITS = Limits(
    body_bytes=1000, connections=8, idle_seconds=5, read_seconds=0.4
)


class Site:
    """Says what it was sent; /slow waits for `gate`, /stream streams."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.server = HttpServer(
            ("127.0.0.1", 0), Service(self.answer, self.gate_, LIMITS)
        )
        self.server.start()

    def gate_(self, path: str, headers: object) -> Response | None:
        return Response(401, b"{}") if path == "/closed" else None

    def answer(self, request: Request) -> Response:
        if request.path == "/bug":
            raise RuntimeError("a bug")
        if request.path == "/slow":
            assert self.gate.wait(30)
        if request.path == "/stream":
            return Response(200, iter([b"one ", b"two"]), "text/plain")
        return Response(200, request.method.encode() + b" " + request.body)

    def connect(self) -> socket.socket:
        return socket.create_connection(
            ("127.0.0.1", self.server.port), timeout=10
        )

    def send(self, content: bytes) -> list[tuple[int, bytes]]:
        """Sends bytes; returns status and body of all answers until EOF."""
        with self.connect() as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            return answers(connection)


def answers(connection: socket.socket) -> list[tuple[int, bytes]]:
    file, found = connection.makefile("rb"), []
    while line := file.readline():
        assert line.startswith(b"HTTP/1.1 ")
        length, chunked = None, False
        while (header := file.readline().strip()) != b"":
            name, _, value = header.partition(b": ")
            if name == b"Content-Length":
                length = int(value)
            chunked |= header.lower() == b"transfer-encoding: chunked"
        body = b"".join(chunks(file)) if chunked else file.read(length)
        if line.split()[1] != b"100":
            found.append((int(line.split()[1]), body))
    return found


def chunks(file: io.BufferedIOBase) -> Iterator[bytes]:
    while size := int(file.readline(), 16):
        yield file.read(size)
        assert file.readline() == b"\r\n"
    assert file.readline() == b"\r\n"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.gate.set()
    site.server.stop(5)


def post(body: bytes, *headers: str, path: str = "/") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sized(body: bytes, *headers: str, path: str = "/") -> bytes:
    return post(body, f"Content-Length: {len(body)}", *headers, path=path)


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(c), c) for c in chunks)
    return post(body + b"0\r\nTrailer: x\r\n\r\n", "Transfer-Encoding: chunked")


def test_requests_of_one_connection(site: Site) -> None:
    content = (
        sized(b"one") + sized(b"two") + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert site.send(content) == [
        (200, b"POST one"),
        (200, b"POST two"),
        (200, b"GET "),
    ]


def test_heads_have_no_body(site: Site) -> None:
    head = b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with site.connect() as connection:
        connection.sendall(head)
        lines = connection.makefile("rb").read().split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Length: 5" in lines
    assert lines[-2:] == [b"", b""]


def test_a_line_too_many(site: Site) -> None:
    content = sized(b"one") + b"\r\n" + sized(b"two")
    assert site.send(content) == [(200, b"POST one"), (200, b"POST two")]


def test_an_old_client(site: Site) -> None:
    assert site.send(b"GET / HTTP/1.0\r\n\r\n") == [(200, b"GET ")]


def test_a_client_that_closes_its_side_gets_its_answer(site: Site) -> None:
    site.gate.clear()
    with site.connect() as connection:
        connection.sendall(sized(b"x", path="/slow"))
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.05)
        site.gate.set()
        assert answers(connection) == [(200, b"POST x")]


def test_a_streamed_answer_ends_with_the_connection(site: Site) -> None:
    content = sized(b"", path="/stream") + sized(b"not read")
    assert site.send(content) == [(200, b"one two")]
    # Old clients do not know chunks.
    content = b"GET /stream HTTP/1.0\r\n\r\n"
    assert site.send(content) == [(200, b"one two")]


def test_no_other_protocol(site: Site) -> None:
    upgrade = post(b"", "Upgrade: h2c", "Connection: Upgrade")
    assert site.send(upgrade + sized(b"x")) == [
        (200, b"POST "),
        (200, b"POST x"),
    ]


def test_chunks(site: Site) -> None:
    assert site.send(chunked(b"ab", b"c" * 20)) == [
        (200, b"POST ab" + b"c" * 20)
    ]


def test_packed_bodies(site: Site) -> None:
    body = gzip.compress(b"a" * 1000)
    found = site.send(sized(body, GZIP))
    assert found == [(200, b"POST " + b"a" * 1000)]


def test_a_client_that_asks_before_it_sends(site: Site) -> None:
    with site.connect() as connection:
        connection.sendall(
            post(b"", "Content-Length: 2", "Expect: 100-continue")
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        connection.shutdown(socket.SHUT_WR)
        assert answers(connection) == [(200, b"POST ab")]
    refused = post(b"", "Content-Length: 2000", "Expect: 100-continue")
    assert site.send(refused)[0][0] == 413


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"\0\1\2\r\n\r\n", 400, "Bad request"),
        (b"GET\r\n\r\n", 400, "illegal request line"),
        (b" \r\n\r\n", 400, "illegal request line"),
        (b"\r\n\r\n\r\n", 400, "no request line"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505, "Invalid HTTP version"),
        (b"GET / NOTHTTP\r\n\r\n", 400, "illegal request line"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host"),
        (b"GET /" + b"a" * 70_000, 414, "URI too long"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n",
            431,
            "Too many headers",
        ),
        (
            b"GET / HTTP/1.1\r\na: " + b"b" * 70_000 + b"\r\n\r\n",
            431,
            "Headers are too long",
        ),
        (post(b"", "Content-Length: -1"), 400, "bad Content-Length"),
        (post(b"", "Content-Length: 1_0"), 400, "bad Content-Length"),
        (post(b"", "Content-Length: ²"), 400, "bad Content-Length"),
        (
            post(b"abc", "Content-Length: 1", "Content-Length: 3"),
            400,
            "conflicting Content-Length",
        ),
        (sized(b"a" * 1001), 413, "Body is larger than 1000 bytes"),
        (post(b"", "Content-Length: 1" + "0" * 18), 413, "Body is larger"),
        (post(b"", "Content-Length: 1" + "0" * 5000), 400, "bad Content-L"),
        (post(b"ab", "Content-Length: 3"), 400, "received 2 bytes, expected 3"),
        (
            sized(b"", "Transfer-Encoding: chunked"),
            400,
            "Bad transfer encoding",
        ),
        (post(b"", "Transfer-Encoding: gzip"), 400, "Only Transfer-Encoding"),
        (chunked(b"a" * 600, b"a" * 600), 413, "Body is larger"),
        (post(b"-1\r\n", "Transfer-Encoding: chunked"), 400, "illegal chunk"),
        (post(b"1\r\nabc", "Transfer-Encoding: chunked"), 400, "chunk footer"),
        (post(b"", "Transfer-Encoding: chunked"), 400, "incomplete chunk"),
        (
            sized(b"no gzip", GZIP),
            400,
            "Failed to uncompress the gzipped body",
        ),
        (
            sized(gzip.compress(b"a" * 10**6, mtime=0), GZIP),
            413,
            "Body is larger",
        ),
        (sized(b"", path="/bug"), 500, "Internal error"),
    ],
    ids=lambda x: repr(x)[:40],
)
def test_errors(site: Site, content: bytes, status: int, words: str) -> None:
    (found, body), *rest = site.send(content)
    assert found == status
    assert words in json.loads(body)["error"]
    assert not rest


def test_who_may_not_ask_does_not_upload(site: Site) -> None:
    with site.connect() as connection:
        connection.sendall(post(b"", "Content-Length: 999", path="/closed"))
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "content", [b"POST / HT", sized(b"abc")[:-1], chunked(b"abc")[:-9]]
)
def test_slow_clients(site: Site, content: bytes) -> None:
    start = time.monotonic()
    with site.connect() as connection:
        connection.sendall(content)
        (found,) = answers(connection)
    assert found[0] == 408
    assert json.loads(found[1]) == {"error": "Request timed out"}
    assert time.monotonic() - start > 0.3


def test_a_client_that_drips_is_slow_as_well(site: Site) -> None:
    with site.connect() as connection:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                connection.sendall(b"P")
            except OSError:
                break
            time.sleep(0.05)
        assert time.monotonic() < end


def test_clients_that_go_away(site: Site) -> None:
    for content in (b"", b"POST /", sized(b"abc")[:-1], sized(b"abc")):
        connection = site.connect()
        connection.sendall(content)
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        connection.close()
    assert site.send(sized(b"x")) == [(200, b"POST x")]


def test_too_many_connections(site: Site) -> None:
    held = [site.connect() for _ in range(8)]
    deadline = time.monotonic() + 60
    while len(site.server._connections) < 8:
        assert time.monotonic() < deadline
    with site.connect() as connection:
        ((status, body),) = answers(connection)
    assert status == 503
    assert json.loads(body) == {"error": "Too many connections"}
    for connection in held:
        connection.close()
    while True:
        try:
            if site.send(sized(b"x")) == [(200, b"POST x")]:
                break
        except OSError:
            pass
        assert time.monotonic() < deadline


def test_stopping_finishes_what_was_taken() -> None:
    site = Site()
    busy, idle = site.connect(), site.connect()
    busy.sendall(sized(b"x", path="/slow") + sized(b"too late"))
    idle.sendall(sized(b"y"))
    assert idle.recv(1000).endswith(b"POST y")
    threading.Timer(0.3, site.gate.set).start()
    assert site.server.stop(60)
    assert answers(busy) == [(200, b"POST x")]
    assert idle.recv(10) == b""
    with pytest.raises(OSError, match="refused"):
        site.connect()
    busy.close()
    idle.close()


def test_stopping_does_not_wait_for_ever() -> None:
    site = Site()
    with site.connect() as busy:
        busy.sendall(sized(b"x", path="/slow"))
        time.sleep(0.05)
        assert not site.server.stop(0.1)
        site.gate.set()
