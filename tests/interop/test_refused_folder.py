"""Folders that do not fit, each refused by name."""

import dataclasses
import json
import pathlib
import struct

import numpy as np
import pytest

from tests.interop.small_folder import (
    SMALL,
    assert_same_weights,
    tensors_of,
    write_tensors,
)
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.tasks import MaskedLM


def test_three_lists(folder: pathlib.Path, task: MaskedLM) -> None:
    tensors = tensors_of(folder)
    del tensors["cls.seq_relationship.weight"]
    del tensors["cls.seq_relationship.bias"]
    tensors["cls.predictions.bias"] = np.ones(7, "float32")
    tensors["adapter.weight"] = np.ones(3, "float32")
    write_tensors(folder, tensors)
    fresh = MaskedLM(task.config)
    before = [v.numpy() for v in fresh.model.trainable_variables]
    with pytest.raises(ValueError, match="must match the model") as error:
        model_folder.load_weights(fresh, folder)
    for text in (
        "2 missing: cls.seq_relationship.bias, cls.seq_relationship.weight",
        "1 unexpected: adapter.weight",
        "1 misshaped: cls.predictions.bias: (7,), not (53,)",
    ):
        assert text in str(error.value)
    # Refused means untouched.
    after = [v.numpy() for v in fresh.model.trainable_variables]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)

    report = model_folder.load_weights(fresh, folder, partial=True)
    assert report.missing == [
        "cls.seq_relationship.bias",
        "cls.seq_relationship.weight",
    ]
    assert report.unexpected == ["adapter.weight"]
    assert len(report.misshaped) == 1
    assert_same_weights(task.model.transformer, fresh.model.transformer)


def test_partial_does_not_leave_out_the_body(folder: pathlib.Path) -> None:
    tensors = tensors_of(folder)
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    write_tensors(folder, tensors)
    with pytest.raises(ValueError, match=r"body.*layer\.1\.output\.dense"):
        model_folder.load(folder, partial=True)


@pytest.mark.parametrize("partial", [False, True])
def test_folder_that_matches_nothing(
    folder: pathlib.Path, task: MaskedLM, partial: bool
) -> None:
    write_tensors(folder, {"h.0.ln_1.weight": np.ones(3, "float32")})
    with pytest.raises(ValueError, match=r"no tensor of.*matches") as error:
        model_folder.init_from(task, folder, partial=partial)
    assert str(folder) in str(error.value)
    assert "1 unexpected: h.0.ln_1.weight" in str(error.value)


def test_init_from_another_size(
    folder: pathlib.Path,
) -> None:
    other = MaskedLM(FAMILIES["bert"].config(**{**SMALL, "num_heads": 4}))
    with pytest.raises(ValueError, match=r"num_heads` 3 in the folder, 4 in"):
        model_folder.init_from(other, folder)
    deeper = MaskedLM(FAMILIES["bert"].config(**{**SMALL, "num_layers": 3}))
    with pytest.raises(ValueError, match=r"16 missing: .*layer\.2"):
        model_folder.init_from(deeper, folder)


@pytest.mark.parametrize("keep", [0, 5, 1000])
def test_damaged_weights_are_named(folder: pathlib.Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match="whole safetensors file") as error:
        model_folder.load(folder)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><title>404</title>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        # A header longer than the file, and one that is no JSON object.
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        # Numbers behind the end of the file.
        struct.pack("<Q", 62)
        + b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}       ',
    ],
)
def test_wrong_headers_of_shards_are_named(
    task: MaskedLM, tmp_path: pathlib.Path, content: bytes
) -> None:
    model_folder.save(task, tmp_path, max_shard_bytes=20_000)
    second = sorted(tmp_path.glob("model-*.safetensors"))[1]
    second.write_bytes(content)
    with pytest.raises(ValueError, match="whole safetensors file") as error:
        model_folder.load(tmp_path)
    assert str(second) in str(error.value)


def test_cut_and_exchanged_shards_are_named(
    task: MaskedLM, tmp_path: pathlib.Path
) -> None:
    model_folder.save(task, tmp_path, max_shard_bytes=20_000)
    first, second = sorted(tmp_path.glob("model-*.safetensors"))[:2]
    content = second.read_bytes()
    second.write_bytes(content[:-4])
    with pytest.raises(ValueError, match="whole safetensors file") as error:
        model_folder.load(tmp_path)
    assert str(second) in str(error.value)
    second.write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match=f"{second.name}' must hold"):
        model_folder.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[1]", "must hold a JSON object"),
        (
            '{"model_type": "gpt_3"}',
            r"one of \['albert'.*'bert'.*'gpt_3'.*The nearest is 'gpt2'",
        ),
        ("{}", r"`model_type`.*Received: None"),
        (
            '{"model_type": "bert", "hidden_act": "mish"}',
            "`hidden_act` must be.*mish",
        ),
        (
            '{"model_type": "bert", "hidden_size": "wide"}',
            r"is wrong: ",
        ),
    ],
)
def test_bad_config_is_named(
    folder: pathlib.Path, text: str, message: str
) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        model_folder.load(folder)
    assert str(folder / "config.json") in str(error.value)


def test_folder_of_another_family(
    folder: pathlib.Path, task: MaskedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(FAMILIES["bert"], name="other")
    monkeypatch.setitem(FAMILIES, "other", other)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "other"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'bert'.*family 'other'"):
        model_folder.load_weights(task, folder)


def test_folder_without_weights(folder: pathlib.Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(ValueError, match=r"\['tf_model.h5'\]. Convert them"):
        model_folder.load(folder)


def test_unknown_task(folder: pathlib.Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["tfllm"]["task"] = "juggling"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="masked_lm.*juggling"):
        model_folder.load(folder)


def test_folder_of_others_gets_its_task_from_its_heads(
    folder: pathlib.Path, task: MaskedLM
) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["tfllm"]
    (folder / "config.json").write_text(json.dumps(config))
    loaded = model_folder.load(folder)
    assert loaded.pair_objective == "nsp"
    assert_same_weights(task, loaded)
