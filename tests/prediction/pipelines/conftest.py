"""The folders that the tests of this folder share."""

import pathlib

import pytest

from tests.prediction.pipelines import small_folders


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("pipelines")
    small_folders.write(root)
    return root
