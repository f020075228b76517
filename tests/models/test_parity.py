"""Our models against recorded reference models, on any Keras backend.

tests/testdata/parity_*.safetensors come from tools/record_parity.py. Run on
JAX, in an environment without TensorFlow, by `make test-jax`.
"""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from keras import ops

from tfllm.interop import model_folder
from tfllm.models import FAMILIES, PretrainingModel

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"
RECORDED = sorted(TESTDATA.glob("parity_*.safetensors"))
TOLERANCE = 1e-5


class Reference:
    """What one recorded file holds, and our model with its weights."""

    def __init__(self, file: pathlib.Path, folder: pathlib.Path) -> None:
        parts: dict[str, dict[str, np.ndarray]] = {}
        with safetensors.safe_open(file, "numpy") as tensors:
            self.config = json.loads(tensors.metadata()["config"])
            for key in tensors.keys():  # noqa: SIM118 - not a dict
                kind, name = key.split("/")
                parts.setdefault(kind, {})[name] = tensors.get_tensor(key)
        self.inputs = {
            name: value.astype("int32")
            for name, value in parts["inputs"].items()
        }
        self.outputs = parts["outputs"]
        (folder / "config.json").write_text(json.dumps(self.config))
        safetensors.numpy.save_file(
            parts["weights"],
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
        _, config = model_folder.read_config(folder)
        self.model = PretrainingModel(config)
        self.model.build()
        self.report = model_folder.load_weights(self.model, folder)


@pytest.fixture(scope="module", params=RECORDED, ids=lambda f: f.stem)
def reference(request: Any, tmp_path_factory: Any) -> Reference:
    return Reference(request.param, tmp_path_factory.mktemp("folder"))


def hidden_states(reference: Reference) -> list[Any]:
    """Returns the embeddings' and every block's output."""
    transformer = reference.model.transformer
    inputs = reference.inputs
    x = transformer.embeddings(
        inputs["token_ids"], segment_ids=inputs["segment_ids"]
    )
    length = inputs["token_ids"].shape[1]
    bias = transformer._mask_bias(inputs["padding_mask"], length, length, 0)
    states = [x]
    for block in transformer.blocks:
        x, _ = block(x, mask_bias=bias)
        states.append(x)
    return states


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_recorded_reference(family: str) -> None:
    assert [f for f in RECORDED if f.stem.startswith(f"parity_{family}_")]


def test_recorded_files_are_small() -> None:
    assert all(file.stat().st_size <= 200_000 for file in RECORDED)


def test_every_weight_is_loaded(reference: Reference) -> None:
    assert not reference.report


def test_hidden_states_equal_the_reference(reference: Reference) -> None:
    for i, ours in enumerate(hidden_states(reference)):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours),
            reference.outputs[f"hidden_states.{i}"],
            atol=TOLERANCE,
            rtol=0,
            err_msg=f"hidden states {i}",
        )


def test_both_heads_equal_the_reference(reference: Reference) -> None:
    outputs = reference.model(**reference.inputs)
    assert set(outputs) == {"mlm", "nsp"}
    for name, ours in outputs.items():
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours),
            reference.outputs[name],
            atol=TOLERANCE,
            rtol=0,
            err_msg=name,
        )


def test_the_other_gelu_would_not_pass(tmp_path: pathlib.Path) -> None:
    file = TESTDATA / "parity_bert_gelu.safetensors"
    reference = Reference(file, tmp_path)
    config = {**reference.config, "hidden_act": "gelu_new"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, other = model_folder.read_config(tmp_path)
    model = PretrainingModel(other)
    model.build()
    model_folder.load_weights(model, tmp_path)
    outputs = model(**reference.inputs)
    difference = np.abs(
        ops.convert_to_numpy(outputs["mlm"]) - reference.outputs["mlm"]
    )
    assert difference.max() > 10 * TOLERANCE
