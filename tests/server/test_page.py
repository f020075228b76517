"""The page and the streamed events, the former in a real browser."""

import html
import json
import pathlib
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server import streaming_model
from tests.server.browser import BROWSER, Browser
from tests.serving.serve_process import ServeProcess

TEXT = "Größe 你好 👍 <b>"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServeProcess]:
    folder: pathlib.Path = tmp_path_factory.mktemp("page")
    base = folder / "base"
    streaming_model.write(base / "3")
    with ServeProcess(
        folder / "log",
        f"--model_base_path={base}",
        "--model_name=echo & co",
        "--port=0",
    ) as process:
        process.wait_for("echo%20&%20co", 3, "AVAILABLE")
        yield process


def stream(server: ServeProcess, **body: Any) -> Any:
    return server.call("POST", "/tfllm/models/echo%20&%20co:stream", body)


def events(answer: Any) -> list[dict[str, Any]]:
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    parts = answer.body.decode().split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    return [json.loads(part.removeprefix("data: ")) for part in parts]


@pytest.mark.dist
def test_a_stream(server: ServeProcess) -> None:
    *pieces, last = events(stream(server, text=TEXT))
    content = TEXT.encode()
    assert sum((p["token_ids"] for p in pieces), []) == list(content)
    assert "".join(p["text"] for p in pieces) == TEXT
    assert len(pieces) == -(-len(content) // 2)
    count = len(content)
    assert last == {"text": "", "finished": "finished", "num_tokens": count}


@pytest.mark.dist
def test_a_stream_of_a_few_tokens(server: ServeProcess) -> None:
    found = events(stream(server, text="abcdefgh", max_new_tokens=3))
    assert sum((p["token_ids"] for p in found[:-1]), []) == list(b"abc")
    assert "".join(p["text"] for p in found) == "abc"
    assert found[-1]["finished"] == "max_new_tokens"
    assert found[-1]["num_tokens"] == 3


@pytest.mark.dist
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "`text` must be a string"),
        ({"text": "a", "max_new_tokens": 0}, 400, "`max_new_tokens` must be"),
    ],
)
def test_what_cannot_be_streamed(
    server: ServeProcess, body: dict[str, Any], status: int, words: str
) -> None:
    answer = stream(server, **body)
    assert answer.status == status
    assert words in answer.json["error"]


@pytest.mark.dist
def test_unknown_models_cannot_be_streamed(server: ServeProcess) -> None:
    answer = server.call("POST", "/tfllm/models/none:stream", {"text": "a"})
    assert answer.status == 404


@pytest.mark.dist
def test_the_page_stands_alone(server: ServeProcess) -> None:
    answer = server.call("GET", "/")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    # Not even a link that would have to be followed.
    assert b"http://" not in answer.body
    assert b"https://" not in answer.body


def visit(server: ServeProcess, folder: pathlib.Path, **parts: str) -> str:
    """Fills in the form, presses Run, returns what the page shows then."""
    fragment = urllib.parse.urlencode(parts)
    host, port = server.rest
    address = f"http://{host}:{port}/#{fragment}&run"
    with Browser(folder, address) as browser:
        return browser.wait_for('#result[aria-busy="false"]')


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_page_predicts(
    server: ServeProcess, tmp_path: pathlib.Path
) -> None:
    shown = visit(
        server,
        tmp_path,
        **{"signature": "serving_default", "in.text": f"one\n{TEXT}"},
    )
    assert 'class="bad"' not in shown
    cells = re.findall(r"<td>(.*?)</td>", shown)
    size = str(len(TEXT.encode()))
    assert [html.unescape(c) for c in cells] == ["3", "one", size, TEXT]
    assert "3 (available)" in shown
    assert "curl -d" in shown


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_page_streams(server: ServeProcess, tmp_path: pathlib.Path) -> None:
    shown = visit(server, tmp_path, **{"signature": "stream", "in.text": TEXT})
    assert 'class="bad"' not in shown
    found = re.search(r'<pre id="stream">(.*?)</pre>', shown, re.S)
    assert found
    # The prompt, then what was streamed.
    assert html.unescape(found[1]) == 2 * TEXT
