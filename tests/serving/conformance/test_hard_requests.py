"""Requests that do not fit a signature: an error, and the server lives on."""

import json
from typing import Any

import grpc
import numpy as np
import pytest

from tests.serving.conformance.model import TASK_INPUTS
from tests.serving.conformance.target import NAME, Target
from tfllm.server import protos, tensor_protos
from tfllm.serving import hard_requests
from tfllm.serving.hard_requests import HardRequest

BAD = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")


def fitting(signature: str) -> dict[str, np.ndarray]:
    """A request of one row for a signature of the model."""
    found = {}
    for name, (dtype, shape) in TASK_INPUTS[signature].items():
        value: Any = b"a text" if dtype.name == "string" else 1
        numpy = object if dtype.name == "string" else dtype.as_numpy_dtype
        found[name] = np.full([2 if i else 1 for i in range(len(shape))], 1)
        found[name] = found[name].astype(numpy)
        found[name][...] = value
    return found


HARD = [
    one
    for signature in TASK_INPUTS
    for one in hard_requests.of([(signature, fitting(signature))])
]


def name_of(one: HardRequest) -> str:
    return f"{one.signature}: {one.what}"


def message(signature: str, arrays: dict[str, np.ndarray]) -> Any:
    found = protos.PredictRequest()
    found.model_spec.name = NAME
    found.model_spec.signature_name = signature
    for name, array in arrays.items():
        dtype = "string" if array.dtype == object else array.dtype.name
        found.inputs[name].CopyFrom(tensor_protos.to_proto(array, dtype))
    return found


def document(signature: str, arrays: dict[str, np.ndarray]) -> Any:
    """The columns of a request, None if JSON has no such arrays."""
    lists = {name: array.tolist() for name, array in arrays.items()}
    if any(
        np.shape(lists[name]) != array.shape or array.dtype == np.float16
        for name, array in arrays.items()
    ):
        return None
    text = json.dumps(lists, default=bytes.decode)
    return {"signature_name": signature, "inputs": json.loads(text)}


@pytest.mark.parametrize("one", HARD, ids=name_of)
def test_hard_request_over_grpc(prediction: Any, one: HardRequest) -> None:
    request = message(one.signature, one.inputs)
    if one.outcome == "error":
        with pytest.raises(grpc.RpcError) as error:
            prediction.Predict(request, timeout=30)
        assert error.value.code().name in BAD, error.value.details()
    else:
        found = prediction.Predict(request, timeout=30).outputs["rows"]
        rows = 0 if one.outcome == "empty" else 1
        assert [dim.size for dim in found.tensor_shape.dim] == [rows]


@pytest.mark.parametrize(
    "one", [one for one in HARD if document("", one.inputs)], ids=name_of
)
def test_hard_request_over_rest(target: Target, one: HardRequest) -> None:
    answer = target.post("predict", document(one.signature, one.inputs))
    if one.outcome == "error":
        assert answer.status == 400, answer.body
    else:
        rows = 0 if one.outcome == "empty" else 1
        assert len(answer.json["outputs"]) == rows


@pytest.mark.parametrize("signature", TASK_INPUTS)
def test_inputs_that_are_missing_or_too_many(
    prediction: Any, signature: str
) -> None:
    arrays = fitting(signature)
    for change in ({"more": np.ones(1, np.int32)}, dict.fromkeys(arrays)):
        inputs = {
            k: v for k, v in {**arrays, **change}.items() if v is not None
        }
        with pytest.raises(grpc.RpcError) as error:
            prediction.Predict(message(signature, inputs), timeout=30)
        assert error.value.code().name == "INVALID_ARGUMENT"
        assert "input size does not match signature" in error.value.details()


@pytest.mark.parametrize("signature", TASK_INPUTS)
def test_what_fits_is_answered(prediction: Any, signature: str) -> None:
    request = message(signature, fitting(signature))
    found = prediction.Predict(request, timeout=30).outputs["rows"]
    assert len(found.int_val) == 1
