"""Models by their hub id; no test asks the hub."""

import pathlib
import shutil
import types
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from safetensors.numpy import load_file as tensors_file

from tests.interop import torch_writer
from tests.interop.small_folder import assert_same_weights
from tfllm.interop import hub, model_folder
from tfllm.tasks import MaskedLM

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Short names that the hub redirects, and full ones.
IDS = ("gpt2", "bert-base-uncased", "google-bert/bert-base-uncased", "a/b.c_d")


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: Any) -> pathlib.Path:
    """The cache of huggingface_hub, empty, with the hub out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def put(cache: pathlib.Path, hub_id: str, saved: pathlib.Path) -> None:
    """Lays a folder into the cache as huggingface_hub does."""
    place = cache / f"models--{hub_id.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    shutil.copytree(saved, place / "snapshots" / COMMIT)


@pytest.mark.parametrize("hub_id", ["bert-base-uncased", "someone/bert"])
def test_the_cache_serves_without_a_connection(
    hub_id: str, cache: pathlib.Path, saved: pathlib.Path, task: MaskedLM
) -> None:
    put(cache, hub_id, saved)
    assert_same_weights(task, model_folder.load(hub_id))
    # A commit that is there, and a branch that is not.
    assert_same_weights(task, model_folder.load(hub_id, revision=COMMIT))
    assert_same_weights(task, model_folder.load(f"{hub_id}@{COMMIT}"))
    with pytest.raises(ValueError, match="at revision 'v2'.*no copy"):
        model_folder.load(hub_id, revision="v2")


def test_neither_here_nor_there(
    cache: pathlib.Path, saved: pathlib.Path
) -> None:
    put(cache, "google-bert/bert-base-uncased", saved)
    with pytest.raises(ValueError, match="'gpt2' is neither a folder") as error:
        model_folder.load("gpt2")
    assert "\n" not in str(error.value)
    assert "has no copy. Check the name" in str(error.value)
    with pytest.raises(
        ValueError, match="It has google-bert/bert-base-uncased: give that name"
    ):
        model_folder.load("bert-base-uncased")


@pytest.mark.parametrize("hub_id", IDS)
def test_ids_and_revisions_reach_the_hub(
    hub_id: str, saved: pathlib.Path, task: MaskedLM, monkeypatch: Any
) -> None:
    asked = []

    def download(hub_id: str, **options: Any) -> str:
        asked.append((hub_id, options["revision"]))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert_same_weights(task, model_folder.load(hub_id, revision="v1"))
    with model_folder.local_folder(hub_id) as folder:
        assert folder == saved
    with model_folder.local_folder(f"{hub_id}@v2") as folder:
        assert folder == saved
    assert asked == [(hub_id, "v1"), (hub_id, None), (hub_id, "v2")]
    with pytest.raises(ValueError, match="Name the revision once"):
        model_folder.load(f"{hub_id}@v2", revision="v1")


def test_torch_files_are_fetched_where_there_are_no_others(
    folder: pathlib.Path, task: MaskedLM, monkeypatch: Any
) -> None:
    (folder / "model.safetensors").rename(folder.parent / "weights")
    asked = []

    def download(hub_id: str, **options: Any) -> str:
        asked.append("pytorch_model*.bin" in options["allow_patterns"])
        if asked[-1]:
            tensors = tensors_file(folder.parent / "weights")
            value = {n: torch_writer.tensor(n, a) for n, a in tensors.items()}
            path = folder / "pytorch_model.bin"
            torch_writer.write_zip(path, value, tensors)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert_same_weights(task, model_folder.load("someone/old-bert"))
    assert asked == [False, True]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.GatedRepoError, "the model is gated"),
        (errors.RepositoryNotFoundError, "no model of this name"),
        (errors.RevisionNotFoundError, "not this `revision`"),
        (errors.LocalEntryNotFoundError, "the hub was not reached"),
        (OSError, "the hub says: 404 Client Error$"),
        (KeyError, "the hub says: "),
    ],
)
def test_failures_are_one_line(
    kind: type[Exception], message: str, monkeypatch: Any
) -> None:
    # Their constructors want the answer of a server.
    error = kind.__new__(kind)
    error.args = ("404 Client Error\n\nwith more lines",)
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *args, **options: (_ for _ in ()).throw(error),
    )
    with pytest.raises(ValueError, match=message) as found:
        hub.fetch("someone/bert")
    assert "\n" not in str(found.value)


def test_folders_come_first(
    folder: pathlib.Path, task: MaskedLM, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "fetch", types.SimpleNamespace())
    monkeypatch.chdir(folder.parent)
    assert_same_weights(task, model_folder.load(folder.name))
    with pytest.raises(ValueError, match="goes with a hub id.*'v1' with the"):
        model_folder.load(folder.name, revision="v1")
    with pytest.raises(ValueError, match="which is no folder"):
        model_folder.load(folder / "config.json")


@pytest.mark.parametrize("name", ["./gpt2", "/no/where", "a/b/c", "", "a b"])
def test_what_is_no_id(name: str) -> None:
    with pytest.raises(ValueError, match="neither of them"):
        model_folder.load(name)


def test_the_home_of_the_user(
    folder: pathlib.Path, task: MaskedLM, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert_same_weights(task, model_folder.load(f"~/{folder.name}"))
    model_folder.save(task, "~/saved")
    assert (folder.parent / "saved" / "config.json").is_file()
