import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.interop import torch_writer
from tests.interop.small_folder import assert_same_weights, tensors_of
from tests.interop.torch_writer import Build, Call, Global, storage, tensor
from tfllm.interop import model_folder
from tfllm.interop.torch_files import TorchFile, TorchFolder
from tfllm.tasks import MaskedLM

FORMATS = sorted(torch_writer.WRITERS)


def write(
    path: pathlib.Path, value: Any, storages: Any = None, form: str = "zip"
) -> pathlib.Path:
    torch_writer.WRITERS[form](path, value, storages or {})
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_reads_each_dtype(tmp_path: pathlib.Path, form: str) -> None:
    arrays = {name: torch_writer.array(name) for name in torch_writer.DTYPES}
    view = (None,) if form == "old" else ()
    value = {name: tensor(name, a, *view) for name, a in arrays.items()}
    file = TorchFile(write(tmp_path / "x.bin", value, arrays, form))
    assert file.shapes() == dict.fromkeys(arrays, (2, 3))
    for name, a in arrays.items():
        read = file.read(name)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, a.astype("float32"), name)


@pytest.mark.parametrize("form", FORMATS)
def test_views_of_one_storage(tmp_path: pathlib.Path, form: str) -> None:
    numbers = np.arange(12, dtype="float32")

    def view(offset: int, shape: tuple, strides: tuple) -> Call:
        arguments = (storage("0", "float32", 12), offset, shape, strides)
        return Call("torch._utils._rebuild_tensor", arguments)

    value = {
        "transposed": view(0, (4, 3), (1, 4)),
        "part": view(5, (2, 2), (3, 1)),
        "scalar": view(11, (), ()),
        "empty": view(0, (0, 3), (3, 1)),
        "expanded": view(2, (2, 3), (0, 0)),
        "parameter": Call(
            "torch._utils._rebuild_parameter", (view(0, (12,), (1,)), True, {})
        ),
    }
    file = TorchFile(write(tmp_path / "x.pt", value, {"0": numbers}, form))
    expected = {
        "transposed": numbers.reshape(3, 4).T,
        "part": numbers[[[5, 6], [8, 9]]],
        "scalar": numbers[11],
        "empty": np.zeros((0, 3)),
        "expanded": np.full((2, 3), 2.0),
        "parameter": numbers,
    }
    for name, a in expected.items():
        np.testing.assert_array_equal(file.read(name), a, name)


def test_state_dicts_of_training_code(tmp_path: pathlib.Path) -> None:
    a = np.ones(2, "float32")
    weights = Build(
        Call("collections.OrderedDict", ([("w", tensor("0", a))],)),
        {"_metadata": {"": {"version": 1}}},
    )
    value = {"epoch": 3, "optimizer": {"lr": True}, "state_dict": weights}
    file = TorchFile(write(tmp_path / "x.pth", value, {"0": a}))
    assert list(file.tensors) == ["w"]
    assert file.others == ["epoch", "optimizer"]


MALICIOUS = [
    Call("os.system", ("touch {}",)),
    Call("posix.system", ("touch {}",)),
    Call("builtins.eval", ("open('{}', 'w')",)),
    Call("subprocess.Popen", (["touch", "{}"],)),
    Call("torch.hub.load", ("{}",)),
    Global("torch.nn.modules.linear.Linear"),
    Global("numpy.core.multiarray._reconstruct"),
    # Reachable through a name that is allowed.
    Global("torch._utils.torch.os.system"),
    Global("collections.OrderedDict.__init__"),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("call", MALICIOUS, ids=lambda call: call.name)
def test_names_that_build_no_tensor_are_refused(
    tmp_path: pathlib.Path, call: Any, form: str
) -> None:
    proof = tmp_path / "executed"
    if isinstance(call, Call):
        text = json.dumps(call.arguments).replace("{}", str(proof))
        call = Call(call.name, tuple(json.loads(text)))
    a = np.ones(2, "float32")
    value = {"w": tensor("0", a), "evil": call}
    path = write(tmp_path / "pytorch_model.bin", value, {"0": a}, form)
    with pytest.raises(ValueError, match="must be a pickle of tensors") as e:
        TorchFile(path)
    assert call.name in str(e.value)
    assert str(path) in str(e.value)
    assert not proof.exists()


def test_the_malicious_file_would_do_harm_elsewhere(
    tmp_path: pathlib.Path,
) -> None:
    # So that the test above proves something.
    proof = tmp_path / "executed"
    pickled = torch_writer.dump(Call("os.system", (f"touch {proof}",)))
    code = f"import pickle; pickle.loads({pickled!r})"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
    assert proof.exists()


def reads_outside(**changes: Any) -> Call:
    fields = {"offset": 0, "shape": (2,), "strides": (1,), **changes}
    return Call(
        "torch._utils._rebuild_tensor_v2",
        (storage("0", "float32", 2), *fields.values(), False, None),
    )


@pytest.mark.parametrize(
    "value",
    [
        reads_outside(shape=(3,)),
        reads_outside(offset=1),
        reads_outside(offset=-1),
        reads_outside(strides=(-1,)),
        reads_outside(strides=(2**62,)),
        reads_outside(shape=(True,)),
        reads_outside(shape=(2, 2)),
        Call("torch._utils._rebuild_tensor_v2", ("0", 0, (), ())),
        # A pickle can set the attributes of an object.
        Build(reads_outside(), {"offset": 1000}),
        Build(reads_outside(), (None, {"offset": 1000})),
        Build(Global("torch.FloatStorage"), {"dtype": "int64"}),
        torch_writer.Persistent(("storage", "float32", "0", "cpu", 2)),
        torch_writer.Persistent("0"),
        storage("0", "float32", 2, ("view", 0, 1)),
    ],
)
def test_tensors_outside_their_storage(
    tmp_path: pathlib.Path, value: Any
) -> None:
    a = np.ones(2, "float32")
    path = write(tmp_path / "x.bin", {"w": value}, {"0": a})
    with pytest.raises(ValueError, match="must be a pickle of tensors alone"):
        TorchFile(path)


@pytest.mark.parametrize("form", FORMATS)
def test_cut_files_are_named(tmp_path: pathlib.Path, form: str) -> None:
    a = np.ones(1000, "float32")
    path = write(tmp_path / "x.bin", {"w": tensor("0", a)}, {"0": a}, form)
    content = path.read_bytes()
    for keep in (0, 1, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:keep])
        with pytest.raises(ValueError, match="Received") as error:
            TorchFile(path).read("w")
        assert str(path) in str(error.value)


def test_storages_that_differ_from_the_pickle(tmp_path: pathlib.Path) -> None:
    a = np.ones(2, "float32")
    value = {"w": tensor("0", a)}
    path = write(tmp_path / "x.bin", value, {"0": a[:1]})
    with pytest.raises(ValueError, match="8 bytes in storage 0.*4"):
        TorchFile(path).read("w")
    path = write(tmp_path / "x.bin", value, {})
    with pytest.raises(ValueError, match="data/0"):
        TorchFile(path).read("w")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, r"keys \['a'\]"),
        ([1], "a list"),
        ({"model": {"lr": 1}}, r"keys \['lr'\]"),
    ],
)
def test_files_without_tensors(
    tmp_path: pathlib.Path, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"tensors by name.*{message}"):
        TorchFile(write(tmp_path / "x.bin", value))


def as_torch(folder: pathlib.Path, form: str, shards: int = 1) -> None:
    """Replaces the safetensors of a folder by torch files."""
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    places = {}
    for i in range(shards):
        part = dict(list(tensors.items())[i::shards])
        name = f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin"
        name = name if shards > 1 else "pytorch_model.bin"
        value = {key: tensor(key, a) for key, a in part.items()}
        write(folder / name, value, part, form)
        places |= dict.fromkeys(part, name)
    if shards > 1:
        index = folder / "pytorch_model.bin.index.json"
        index.write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize(
    ("form", "shards"), [("zip", 1), ("old", 1), ("zip", 3)]
)
def test_folders_load(
    folder: pathlib.Path, task: MaskedLM, form: str, shards: int
) -> None:
    as_torch(folder, form, shards)
    before = model_folder.stamps(str(folder))
    assert_same_weights(task, model_folder.load(folder))
    os.utime(sorted(folder.glob("pytorch_model*"))[0], (0, 0))
    assert model_folder.stamps(str(folder)) != before


def test_safetensors_come_first(folder: pathlib.Path, task: MaskedLM) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"no torch file")
    assert_same_weights(task, model_folder.load(folder))


def test_damaged_shards_are_named(folder: pathlib.Path) -> None:
    as_torch(folder, "zip", 3)
    second = folder / "pytorch_model-00002-of-00003.bin"
    content = second.read_bytes()
    second.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="00002-of-00003.bin' must be a whole"):
        model_folder.load(folder)
    shutil.copy(folder / "pytorch_model-00001-of-00003.bin", second)
    with pytest.raises(ValueError, match="00002-of-00003.bin' must hold"):
        model_folder.load(folder)
    second.unlink()
    with pytest.raises(ValueError, match="files that are not there.*00002-of"):
        model_folder.load(folder)


def test_indices_that_point_elsewhere(folder: pathlib.Path) -> None:
    as_torch(folder, "zip", 2)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "../other.bin"}}))
    (folder.parent / "other.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"not there. Received: \.\./other"):
        TorchFolder(folder)
    index.write_text("[]")
    with pytest.raises(ValueError, match="must be JSON with a `weight_map`"):
        TorchFolder(folder)


@pytest.mark.live_parity
@pytest.mark.parametrize("old", [False, True])
def test_reads_what_torch_writes(tmp_path: pathlib.Path, old: bool) -> None:
    torch = pytest.importorskip("torch")
    a = torch.arange(24.0).reshape(4, 6)
    tensors = {
        **{d: a.to(getattr(torch, d)) for d in torch_writer.DTYPES},
        "view": a[1:3, ::2],
        "transposed": a.T,
        "expanded": a[:, :1].expand(4, 6),
        "parameter": torch.nn.Parameter(a),
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 2),
    }
    linear = torch.nn.Linear(3, 2)
    path = tmp_path / "x.pt"
    options = {"_use_new_zipfile_serialization": not old}
    torch.save(tensors, path, **options)
    file = TorchFile(path)
    for name, expected in tensors.items():
        found = file.read(name)
        np.testing.assert_array_equal(found, expected.detach().float(), name)
    torch.save(linear.state_dict(), path, **options)
    found = TorchFile(path).read("weight")
    np.testing.assert_array_equal(found, linear.weight.detach())
    torch.save(linear, path, **options)
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear"):
        TorchFile(path)
