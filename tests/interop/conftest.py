"""The saved folder of a small model."""

import pathlib
import shutil
from typing import Any

import pytest

from tests.interop.small_folder import small_task
from tfllm.interop import model_folder
from tfllm.tasks import MaskedLM


@pytest.fixture(autouse=True)
def no_comparison(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hides Transformers, whose import takes seconds, from conversions."""
    if request.node.get_closest_marker("live_parity"):
        return

    def fail(*args: Any, **options: Any) -> None:
        raise ImportError("No module named 'transformers'")

    for source in ("torch_source", "gguf_source"):
        monkeypatch.setattr(
            f"tfllm.interop.sources.{source}.load_transformers", fail
        )


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
