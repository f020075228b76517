"""The row length that tokenizer files ask for."""

import json
import pathlib
import shutil

import pytest

from tests.serving import small_models
from tfllm.interop import model_folder


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    source = small_models.labelled("classification")
    return pathlib.Path(shutil.copytree(source, tmp_path / "folder"))


def change(folder: pathlib.Path, name: str, **values: object) -> None:
    path = folder / name
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))


def test_the_length_of_the_tokenizer_is_the_usual_one(
    folder: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = model_folder.load(folder).row_length()
    change(folder, "tokenizer_config.json", model_max_length=7)
    task = model_folder.load(folder)
    assert task.row_length() == 7
    assert task.row_length(limit) == limit
    # Tokenizers without a limit have one of 10 ** 30.
    for length in (None, 10**30, 1e30, limit + 1):
        change(folder, "tokenizer_config.json", model_max_length=length)
        assert model_folder.load(folder).row_length() == limit
    assert not caplog.messages


def test_truncation_in_the_file_is_named(
    folder: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(folder, "tokenizer.json", truncation={"max_length": 6})
    model_folder.load(folder)
    (line,) = caplog.messages
    assert "`truncation`" in line
    assert "6 tokens" in line
    assert str(folder / "tokenizer.json") in line


@pytest.mark.parametrize("length", ["x", 0, True, float("nan")])
def test_a_length_that_is_none(folder: pathlib.Path, length: object) -> None:
    change(folder, "tokenizer_config.json", model_max_length=length)
    with pytest.raises(ValueError, match="`model_max_length` in .*config"):
        model_folder.load(folder)
