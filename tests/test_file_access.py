"""Tests of tfllm.file_access: names, patterns, `~`, remote schemes."""

import os
import pathlib
import sys
import types

import pytest
import tensorflow as tf

from tfllm import file_access


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    return str(tmp_path)


def test_a_tilde_is_the_home_folder(home: str) -> None:
    assert file_access.expand("~/out") == f"{home}/out"
    assert file_access.expand("~/a/*.txt,~/b") == f"{home}/a/*.txt,{home}/b"
    for path in ("a~b", "./~/x", "s3://b/~x", "", "x,y"):
        assert file_access.expand(path) == path
    pathlib.Path(home, "a,~b").touch()
    assert file_access.expand("~/a,~b") == f"{home}/a,~b"
    assert file_access.match_files("~/a,~b", "x") == [f"{home}/a,~b"]
    pathlib.Path(home, "1.txt").touch()
    assert file_access.match_files("~/*.txt", "x") == [f"{home}/1.txt"]


@pytest.mark.parametrize("name", ["m[1]", "a*", "b?", "c,d"])
def test_a_path_that_exists_is_no_pattern(
    name: str, tmp_path: pathlib.Path
) -> None:
    for other in ("m1", "ab", "bb", "c"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "x.txt").touch()
    (tmp_path / name).mkdir()
    (tmp_path / name / "y.txt").touch()
    path = str(tmp_path / name / "y.txt")
    assert file_access.match_files(path, "x") == [path]
    folder = str(tmp_path / name)
    assert file_access.in_folder(folder, ["x*", "y*"]) == [path]
    ((stamped, size, _),) = file_access.stamps(folder, ["*.txt"])
    assert (stamped, size) == ("y.txt", 0)


def test_what_lies_in_a_folder_is_sorted_by_pattern(
    tmp_path: pathlib.Path,
) -> None:
    for name in ("b.x", "a.x", "c.y"):
        (tmp_path / name).touch()
    found = file_access.in_folder(str(tmp_path), ["*.y", "*.x"])
    assert [os.path.basename(path) for path in found] == ["c.y", "a.x", "b.x"]
    assert file_access.in_folder(str(tmp_path / "none"), ["*"]) == []


def test_patterns_in_remote_folders() -> None:
    folder = "ram://file_access/m"
    tf.io.gfile.makedirs(folder)
    for name in ("b.x", "a.x", "c.y"):
        with tf.io.gfile.GFile(f"{folder}/{name}", "w") as file:
            file.write("x")
    paths = [f"{folder}/a.x", f"{folder}/b.x"]
    assert file_access.in_folder(folder, ["*.x"]) == paths
    assert file_access.match_files(f"{folder}/*.x", "x") == paths
    assert file_access.in_folder("ram://file_access/none", ["*"]) == []


@pytest.mark.parametrize("name", ["m[1]", "m*", "a/m?/b", "m\\1"])
def test_names_that_tensorflow_takes_for_patterns(name: str) -> None:
    with pytest.raises(ValueError, match="`export_dir` must hold none"):
        file_access.check_plain(name, "export_dir")
    file_access.check_plain("a-b/c]{d},e.1", "export_dir")


@pytest.mark.parametrize("scheme", ["s3", "hdfs", "https"])
def test_a_file_system_that_is_missing_is_named(scheme: str) -> None:
    path = f"{scheme}://bucket/a.txt"
    with pytest.raises(ValueError, match="pip install tensorflow-io") as error:
        file_access.match_files(path, "train_files")
    assert f"no file system for {scheme}://. Received: {path}" in str(
        error.value
    )
    for call in (
        file_access.exists,
        file_access.open_binary,
        file_access.make_folder,
        file_access.stamp,
        file_access.remove,
    ):
        with pytest.raises(ValueError, match="no file system"):
            call(path)


def test_tensorflow_io_is_loaded_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It adds file systems when it is imported."""
    schemes = ["", "ram"]
    monkeypatch.setattr(tf.io.gfile, "get_registered_schemes", lambda: schemes)

    def load(name: str) -> types.ModuleType:
        assert name == "tensorflow_io"
        schemes.append("s3")
        return sys

    monkeypatch.setattr(file_access.importlib, "import_module", load)
    file_access.check_scheme("s3://bucket/a")
    with pytest.raises(ValueError, match="hdfs"):
        file_access.check_scheme("hdfs://host/a")


def test_a_place_for_a_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "new", "s3://no/such"):
        file_access.check_output_file(str(path), "output_file")
    for path, reason in (
        (tmp_path, "a folder. Name a file in it"),
        (tmp_path / "file" / "x", f"where {tmp_path / 'file'} is a file"),
        (tmp_path / "a" / "x", f"where {tmp_path / 'a'} is no such folder"),
    ):
        with pytest.raises(ValueError, match="`output_file` must") as caught:
            file_access.check_output_file(str(path), "output_file")
        assert f"Received: {path}, {reason}" in str(caught.value)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=f"such right in {tmp_path}"):
        file_access.check_output_file(str(tmp_path / "new"), "output_file")


def test_a_place_for_a_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "a" / "b", "s3://no/such"):
        file_access.check_output_folder(str(path), "export_dir")
    for path in (tmp_path / "file", tmp_path / "file" / "a"):
        with pytest.raises(ValueError, match="must be a folder") as caught:
            file_access.check_output_folder(str(path), "export_dir")
        text = f"Received: {path}, where {tmp_path / 'file'} is a file"
        assert text in str(caught.value)
