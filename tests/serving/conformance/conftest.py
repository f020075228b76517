"""Where the server under test is: here, unless the options name another.

    python -m pytest tests/serving/conformance \
        --rest_address=HOST:8501 --grpc_address=HOST:8500

The other one must serve what model.py writes.
"""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.serving import serve_process
from tests.serving.conformance.target import NAME, Target
from tfllm.server import protos


def pytest_addoption(parser: pytest.Parser) -> None:
    for name in ("rest_address", "grpc_address"):
        parser.addoption(f"--{name}", help="HOST:PORT of a running server")


@pytest.fixture(scope="session")
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    # Missing when pytest did not start in this folder.
    rest, remote = (
        request.config.getoption(name, default=None)
        for name in ("rest_address", "grpc_address")
    )
    if rest and remote:
        host, _, port = rest.rpartition(":")
        yield Target((host, int(port)), remote)
        return
    assert (rest, remote) == (None, None), "give both addresses, or none"
    # Only here: a server elsewhere has its own.
    base = request.getfixturevalue("conformance_base")
    log = tmp_path_factory.mktemp("conformance") / "log"
    with serve_process.ServeProcess(
        log, f"--model_config_file={base}/models.config"
    ) as process:
        for version in (1, 2):
            process.wait_for(NAME, version, "AVAILABLE")
        yield Target(process.rest, f"{serve_process.HOST}:{process.grpc_port}")


@pytest.fixture(scope="session")
def channel(target: Target) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target.grpc) as channel:
        yield channel


@pytest.fixture(scope="session")
def prediction(channel: grpc.Channel) -> Any:
    return protos.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def models(channel: grpc.Channel) -> Any:
    return protos.ModelServiceStub(channel)
