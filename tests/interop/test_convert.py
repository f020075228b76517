"""Any checkpoint to a model folder: whole or not at all."""

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

from tests.interop import torch_writer
from tests.interop.small_folder import assert_same_weights, tensors_of
from tests.interop.torch_writer import tensor
from tfllm.interop import hub, model_folder
from tfllm.interop.sources import convert, table
from tfllm.models import FAMILIES
from tfllm.tasks import MaskedLM
from tools import parity_cases
from tools.family_arguments import off_default


@pytest.fixture
def theirs(folder: pathlib.Path) -> pathlib.Path:
    """A folder of Transformers with a torch file."""
    tensors = tensors_of(folder)
    tensors["bert.embeddings.position_ids"] = np.arange(19)
    tensors["extra.weight"] = np.ones(3, "float32")
    value = {name: tensor(name, a) for name, a in tensors.items()}
    torch_writer.write_zip(folder / "pytorch_model.bin", value, tensors)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    del config["tfllm"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("place", ["", "pytorch_model.bin"])
def test_the_report(
    theirs: pathlib.Path, tmp_path: pathlib.Path, task: MaskedLM, place: str
) -> None:
    target = tmp_path / "new" / "ours"
    report = convert.to_model_folder(str(theirs / place), str(target))
    assert report.source == "torch"
    assert report.left_out == ["bert.embeddings.position_ids", "extra.weight"]
    assert "  extra.weight\ncompared: nothing" in str(report)
    assert set(report.read) == set(tensors_of(target))
    assert_same_weights(task, model_folder.load(target))
    assert [path.name for path in target.parent.iterdir()] == ["ours"]
    assert target.stat().st_mode == target.parent.stat().st_mode


def test_old_files_do_not_name_their_family(
    theirs: pathlib.Path, tmp_path: pathlib.Path, task: MaskedLM
) -> None:
    config = json.loads((theirs / "config.json").read_text())
    del config["model_type"], config["architectures"]
    (theirs / "config.json").write_text(json.dumps(config))
    convert.to_model_folder(str(theirs), str(tmp_path / "ours"))
    assert_same_weights(task, model_folder.load(tmp_path / "ours"))


@pytest.mark.live_parity
def test_the_forward_pass_of_transformers(
    theirs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    pytest.importorskip("transformers")
    report = convert.to_model_folder(str(theirs), str(tmp_path / "ours"))
    assert report.difference is not None, report.comparison
    assert report.difference < 1e-5


def test_folders_that_hold_files(
    theirs: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    before = sorted(theirs.iterdir())
    with pytest.raises(ValueError, match="new or an empty folder.*files"):
        convert.to_model_folder(str(theirs), str(theirs))
    assert sorted(theirs.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "mish"}, "`hidden_act` must be.*'mish'"),
        ({"num_hidden_layers": 3}, "`num_hidden_layers` must be 2"),
        ({"model_type": "brt"}, "`model_type`.*'brt'.*nearest is 'bert'"),
    ],
)
def test_refused_checkpoints_leave_nothing(
    theirs: pathlib.Path, tmp_path: pathlib.Path, change: Any, message: str
) -> None:
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps({**config, **change}))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message) as error:
        convert.to_model_folder(str(theirs), str(tmp_path / "ours"))
    assert str(theirs) in str(error.value)
    assert ".partial" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_config_is_refused_before_weights_are_read(
    theirs: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        "tfllm.interop.torch_files.TorchFile.read",
        lambda *args: pytest.fail("a weight was read"),
    )
    config = json.loads((theirs / "config.json").read_text())
    config["position_embedding_type"] = "relative_key"
    (theirs / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="`position_embedding_type`.*relative"):
        convert.to_model_folder(str(theirs), str(tmp_path / "ours"))


def test_unknown_files(tmp_path: pathlib.Path) -> None:
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(ValueError, match=r"gguf: .*notes\.md.*--from"):
        table.recognize(str(tmp_path))


def test_hub_ids_and_revisions(
    theirs: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    asked = []

    def fetch(hub_id: str, revision: str | None = None) -> pathlib.Path:
        asked.append((hub_id, revision))
        return theirs

    monkeypatch.setattr(hub, "fetch", fetch)
    ours = tmp_path / "ours"
    convert.to_model_folder("someone/bert@v2", str(ours))
    shutil.rmtree(ours)
    convert.to_model_folder("someone/bert", str(ours), revision="v3")
    assert asked == [("someone/bert", "v2"), ("someone/bert", "v3")]
    with pytest.raises(ValueError, match="`revision` goes with a hub id"):
        convert.to_model_folder(str(theirs), str(ours), revision="v3")


@pytest.mark.live_parity
@pytest.mark.wide
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_compared(family: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("transformers")
    model = parity_cases.create(
        family,
        parity_cases.heads(family)[0],
        off_default(FAMILIES[family]),
    )
    model_folder.save(model, tmp_path / "theirs")
    report = convert.to_model_folder(f"{tmp_path}/theirs", f"{tmp_path}/ours")
    assert report.difference is not None, report.comparison
    assert report.difference < 1e-4
    assert set(tensors_of(tmp_path / "ours")) == set(
        tensors_of(tmp_path / "theirs")
    )
