"""The benchmark of serving, on servers that know nothing of models."""

import json
import pathlib
import sys

import pytest

from tools.peers import environments, http_client, serving, serving_texts
from tools.peers.serving import ServerSpec
from tools.peers.sides import OURS, REPOSITORY
from tools.peers.turns import TurnsConfig
from tools.peers.worker import SideError

FAKE_SERVER = """
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, value):
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer("ok")

    def do_POST(self):
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        share = len(text) % 7 / 10 + float(sys.argv[2])
        self.answer([share, 1 - share])

if sys.argv[2] == "broken":
    sys.exit("cannot serve")
class Server(http.server.ThreadingHTTPServer):
    # All clients come at once.
    request_queue_size = 128

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
CONFIG = TurnsConfig(rounds=2, seconds_per_turn=0.1, threads=1, timeout=30.0)


@pytest.fixture(autouse=True)
def fake_servers(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "fake_server.py"
    script.write_text(FAKE_SERVER)

    def spec(side: str, variant: str) -> ServerSpec:
        return ServerSpec(
            side,
            variant,
            lambda port, folder: [str(script), str(port), variant],
            lambda folder: environments.child_environment(1),
            lambda client: client.ask("/health") == "ok",
            lambda client, text: client.ask("/predict", text),
        )

    monkeypatch.setattr(
        serving,
        "servers",
        lambda threads: [
            spec(OURS, "0"),
            spec(serving.PEER, "0.25"),
            spec(serving.PEER, "broken"),
        ],
    )
    monkeypatch.setattr(serving, "make_model", lambda *_: None)


def test_servers_take_turns() -> None:
    interpreters = dict.fromkeys((OURS, serving.PEER), sys.executable)
    table = serving.measure_peers(interpreters, CONFIG)
    ours, theirs, broken = table.rows
    assert "cannot serve" in broken.error
    assert not ours.error
    assert not theirs.error
    for row in (ours, theirs):
        assert len(row.figures) == 5
        assert min(row.figures.values()) > 0.0
    # They must answer the same; these do not.
    assert "within 2.5e-01 of tfllm's" in theirs.notes
    assert all(ratios["best_peer"] > 0 for ratios in table.ratios().values())
    assert len(table.ratios()) == 3
    raw = table.details["raw"]["transformers 0.25"]
    assert len(raw["requests_per_second"]) == CONFIG.rounds
    json.dumps(table.as_json())


def test_no_environment_and_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    interpreters = {
        OURS: sys.executable,
        serving.PEER: SideError("no environment: pip failed"),
    }
    ours, *theirs = serving.measure_peers(interpreters, CONFIG).rows
    assert not ours.error
    assert ["pip failed" in row.error for row in theirs] == [True, True]

    def fail(*_: object) -> None:
        raise SideError("no model: out of memory")

    monkeypatch.setattr(serving, "make_model", fail)
    rows = serving.measure_peers(interpreters, CONFIG).rows
    assert all("out of memory" in row.error for row in rows)
    table = serving.measure_overhead(sys.executable, 2, CONFIG)
    assert "out of memory" in table.rows[0].error


def test_commands_start_what_they_name(tmp_path: pathlib.Path) -> None:
    port = 1234
    for side, module in (
        (serving._our_command, "tfllm.serve"),
        (serving._peer(2, 1).command, "uvicorn"),
    ):
        command = side(port, tmp_path)
        assert command[:2] == ["-m", module]
        assert f"{port}" in " ".join(command)
    assert "--workers=2" in command
    program, _, function = command[4].partition(":")
    path = REPOSITORY / f"{program.replace('.', '/')}.py"
    assert f"def {function}(" in path.read_text()
    env = serving._peer(2, 1).env(tmp_path)
    assert env["OMP_NUM_THREADS"] == "1"
    assert "TFLLM_PEER_MODEL" in env


def test_mean_runtime_of_a_page() -> None:
    name = ":tensorflow:serving:runtime_latency"
    page = f'{name}_sum{{model_name="m"}} 9000\n{name}_count{{a="b"}} 3\n'
    assert serving._mean_runtime(page) == pytest.approx(0.003)
    with pytest.raises(RuntimeError, match="Received: none"):
        serving._mean_runtime("nothing")


def test_vocabulary_has_the_size_of_bert() -> None:
    words = serving_texts.vocabulary()
    assert len(set(words)) == len(words) == serving_texts.VOCAB_SIZE
    (text,) = serving_texts.make_texts(1, 24, seed=1)
    assert len(text.split()) == 24
    assert set(text.split()) <= set(words)
    assert serving_texts.make_texts(1, 24, seed=1) == [text]


def test_latencies_ask_at_least_once() -> None:
    asked = []
    client = http_client.Client(1, 1.0)
    found = http_client.latencies(
        client, lambda _, text: asked.append(text), ["a", "b"], 0.0
    )
    assert len(found) == 1
    assert asked == ["a"]
