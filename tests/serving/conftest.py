"""The small model that the servers of these tests serve."""

import pathlib

import pytest

from tests.serving.conformance import model


@pytest.fixture(scope="session")
def conformance_base(
    tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
    """Versions 1 and 2 of conformance/model.py, and their models.config."""
    base = tmp_path_factory.mktemp("served") / "base"
    model.write_all(base)
    return base
