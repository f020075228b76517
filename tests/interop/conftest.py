"""The saved folder of a small model."""

import pathlib
import shutil
from typing import Any

import pytest

from tests.interop.small_folder import small_task
from tfllm.interop import model_folder
from tfllm.tasks import MaskedLM


@pytest.fixture(scope="module")
def task() -> MaskedLM:
    return small_task()


@pytest.fixture(scope="module")
def saved(task: MaskedLM, tmp_path_factory: Any) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("saved")
    model_folder.save(task, folder)
    return folder


@pytest.fixture
def folder(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the saved folder, to damage."""
    return pathlib.Path(shutil.copytree(saved, tmp_path / "folder"))
